drop operator operators.@@@ (none, int);
create operator operators.@@# (function = operators.prefix, rightarg = int);
alter operator family operators.loose using btree rename to looser;
drop operator class operators.boxes using gist;
