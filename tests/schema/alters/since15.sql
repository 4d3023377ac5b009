alter view since15.invoker set (security_invoker = false);
alter table since15.t drop constraint u;
alter sequence since15.s set logged;
