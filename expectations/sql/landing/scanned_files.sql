-- One row per lake file that can be scanned: it has the columns that the scan reads, with their known types.
create table scanned_files as
select
    lake_files.filename,
    lake_files.event_date,
    partitions.earliest_near_micros,
    partitions.latest_near_micros,
    strftime(lake_files.event_date, '%Y%m%d') as table_date,
    -- whole days together, about a million rows at a time: finding duplicates takes memory by the row
    sum(partitions.row_count) over (order by partitions.event_date range unbounded preceding)
    // getvariable('batch_rows') as batch
from lake_files
inner join partitions on lake_files.event_date = partitions.event_date
where lake_files.filename not in (
    select off_type.filename
    from off_type
    where off_type.column_name in (
        'event_date', 'event_timestamp', 'event_name', 'event_params', 'user_pseudo_id', 'stream_id'
    )
);
