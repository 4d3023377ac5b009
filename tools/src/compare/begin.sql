-- One snapshot for all tables, and the same text for the same value on every server.
begin transaction isolation level repeatable read read only;
set local search_path = '';
set local datestyle = 'ISO, MDY';
set local intervalstyle = 'postgres';
set local timezone = 'UTC';
set local extra_float_digits = 3;
set local bytea_output = 'hex';
set local lc_monetary = 'C';
set local xmloption = 'content';
set local client_encoding = 'UTF8';
set local row_security = off;
set local statement_timeout = 0;
set local lock_timeout = 0;
