-- One row per known column: in how many lake files it is absent or of another type.
create table columns as
select
    known_columns.column_name || coalesce(
        ' is ' || min(coalesce(off_type.found, 'absent')) || ' instead of ' || min(off_type.column_type)
        || ', for example in ' || min(off_type.label), ''
    ) as subject,
    known_columns.column_name,
    count(off_type.filename) as files_off_type
from known_columns
left join off_type on known_columns.column_name = off_type.column_name
group by known_columns.column_name;
