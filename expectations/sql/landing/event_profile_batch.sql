-- The rows of event_profile for the lake files in variable `files`. What is no event is defined as in dbt's
-- quarantine_reason(), with the same bounds: the vars of dbt_project.yml.
insert into event_profile by name
with events as (
    select
        files.event_date,
        exported.event_name,
        coalesce(trim(exported.event_name), '') = '' as is_blank,
        exported.event_timestamp,
        exported.event_date as exported_date,
        -- as dbt reads the date, which may have a blank before it; almost all are equal as they are, without being read
        case
            when exported.event_date = files.table_date then false
            else (cast(try_strptime(exported.event_date, '%Y%m%d') as date) is distinct from files.event_date)
        end as is_other_date,
        files.earliest_near_micros,
        files.latest_near_micros,
        exported.stream_id,
        exported.user_pseudo_id,
        exported.event_params
    from read_parquet(getvariable('files'), filename = true, hive_partitioning = false) as exported
    inner join scanned_files as files on exported.filename = files.filename
)

select
    event_date,
    event_name,
    is_blank,
    count(*) as row_count,
    count(*) filter (where event_timestamp is null) as timestamp_missing,
    count(*) filter (where exported_date is null) as date_missing,
    count(*) filter (where exported_date is not null and is_other_date) as date_other,
    count(*) filter (where event_timestamp not between earliest_near_micros and latest_near_micros)
        as timestamp_outside,
    count(*) filter (where user_pseudo_id is null) as unidentified,
    count(*) filter (
        where
        is_blank
        or event_timestamp is null
        or event_timestamp
        not between getvariable('earliest_event_timestamp') and getvariable('latest_event_timestamp')
        or event_timestamp
        not between epoch_us(event_date) + getvariable('earliest_micros_from_event_date')
        and epoch_us(event_date) + getvariable('latest_micros_from_event_date')
        or is_other_date
    ) as to_quarantine,
    -- copies as they usually come, params in the same order; dbt finds the others as well
    count(*) - count(distinct hash(
        exported_date, stream_id, user_pseudo_id, event_name, event_timestamp, event_params
    )) as duplicates
from events
group by event_date, event_name, is_blank;
