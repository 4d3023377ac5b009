alter table since18.virtual alter column b set expression as (a * 3);
alter table since18.not_nulls rename constraint "a is there" to a_is_there;
alter table since18.refers alter constraint fk enforced;
