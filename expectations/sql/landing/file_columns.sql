-- One row per lake file and column, with the type it has there, filled from the files.
create table file_columns (
    filename varchar,
    column_name varchar,
    column_type varchar
);
