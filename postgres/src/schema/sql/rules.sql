-- Rules; 1 is SELECT, which is a view's own definition.
select w.ev_class, w.rulename, w.ev_type::text, w.ev_enabled::text, w.is_instead
from pg_catalog.pg_rewrite w
where w.ev_class = any ($1) and w.ev_type <> '1'
order by w.ev_class, w.rulename
