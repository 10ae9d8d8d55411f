-- One row per lake file and known column that it lacks or holds as another type.
create table off_type as
select
    lake_files.filename,
    lake_files.label,
    known_columns.column_name,
    known_columns.column_type,
    found.column_type as found
from lake_files
cross join known_columns
left join file_columns as found
    on
        lake_files.filename = found.filename
        and known_columns.column_name = found.column_name
where found.column_type is distinct from known_columns.column_type;
