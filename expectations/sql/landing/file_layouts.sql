-- One row per Parquet schema among the lake files in variable `files`, with the files that have it: they have the same
-- columns, and one of them is described for all.
create table file_layouts as
with layouts as (
    select
        file_name,
        string_agg(concat_ws(':', name, type, duckdb_type, num_children), '|' order by column_id) as layout
    from parquet_schema(getvariable('files'))
    group by file_name
)

select list(file_name) as filenames
from layouts
group by layout;
