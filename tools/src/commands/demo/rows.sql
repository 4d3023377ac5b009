insert into accounts (owner, balance)
select 'owner ' || n, 1000 from generate_series(1, 10000) n;

insert into journal
select now() - n * interval '1 minute', case when n % 10 = 0 then null else 'entry ' || (n % 100) end
from generate_series(1, 2000) n;

insert into measurements
select n % 500, date '2024-01-01' + (n / 500), random() * 100, array['a', 'tag ' || n % 7]
from generate_series(0, 99999) n;

insert into documents
select n, 'document ' || n, (select string_agg(md5(n::text || m::text), '') from generate_series(1, 600) m), 0
from generate_series(1, 300) n;

analyze;
