insert into golden.plain values (1, 'one', 1.00), (2, null, -2.5), (3, E'line\nbreak', 'NaN');
update golden.plain set note = 'uno' where id = 1;
update golden.plain set id = 20 where id = 2;
delete from golden.plain where id = 3;
insert into golden.types values (
    1, true, -1, 0.1, 0.30000000000000004, 12345678901234567890.123,
    'ab', 'abc', '\x00ff', b'10101', b'101',
    '2024-02-29', '12:34:56.789', '1999-12-31 23:59:59', '2000-01-01 00:00:00+00', '1 year 2 days 03:04:05',
    '{"a": 1}', '{"b": [1, 2]}', '<x/>', '00112233-4455-6677-8899-aabbccddeeff', '10.0.0.1/8', '[1,5)',
    '{1,null,3}', '{"a b",NULL,"c,d"}', 'happy', '{sad,ok}',
    row(1, null, 3), 7
);
insert into golden.types (id) values (2);
update golden.types set flag = false where id = 2;
insert into golden.whole values (1, 'a'), (1, 'a'), (2, null);
update golden.whole set "Größe" = 3 where "Größe" = 2;
delete from golden.whole where "Größe" = 3;
insert into golden.toasted values (1, 1, repeat('0123456789', 1000));
update golden.toasted set small = 2;
update golden.toasted set big = 'short';
insert into golden.child values (1, 1);
insert into golden.empty default values;
truncate golden.plain, golden.child restart identity cascade;
alter table golden.plain add column added int default 5;
insert into golden.plain values (5, 'five');
begin;
insert into golden.plain values (6, 'prepared');
prepare transaction 'golden';
commit prepared 'golden';
select pg_replication_origin_create('golden_' || current_database());
select pg_replication_origin_session_setup('golden_' || current_database());
begin;
select pg_replication_origin_xact_setup('0/ABC', '2020-01-01');
insert into golden.plain values (7, 'from elsewhere');
commit;
select pg_replication_origin_session_reset();
select pg_logical_emit_message(true, 'golden', 'transactional');
select pg_logical_emit_message(false, 'golden', 'not transactional');
