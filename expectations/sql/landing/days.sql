-- One row per changed day: shares of its rows, and its volume against the usual one.
create table days as
with profile as (
    select
        event_date,
        cast(sum(row_count) as bigint) as rows_read,
        coalesce(sum(row_count) filter (where is_blank), 0) as name_missing,
        sum(timestamp_missing) as timestamp_missing,
        sum(date_missing) as date_missing,
        sum(date_other) as date_other,
        sum(timestamp_outside) as timestamp_outside,
        sum(unidentified) as unidentified,
        cast(sum(to_quarantine) as bigint) as to_quarantine,
        sum(duplicates) as duplicates
    from event_profile
    group by event_date
),

-- only a whole day can be compared, and only with whole days
daily as (
    select
        event_date,
        exported_rows
    from partitions
    where kind = 'daily'
),

usual as (
    select
        today.event_date,
        count(earlier.event_date) as history_days,
        median(earlier.exported_rows) filter (
            where datediff('day', earlier.event_date, today.event_date) % 7 = 0
        ) as usual_rows
    from daily as today
    left join daily as earlier
        on earlier.event_date between today.event_date - 28 and today.event_date - 1
    group by today.event_date
),

-- a file that the scan left out is reported once, by its column types
unread as (
    select event_date
    from lake_files
    where filename not in (select scanned_files.filename from scanned_files)
)

select
    cast(partitions.event_date as varchar) as subject,
    partitions.event_date,
    partitions.kind,
    partitions.row_count,
    case when partitions.kind = 'daily' then partitions.exported_rows end as daily_rows,
    case
        when partitions.event_date not in (select unread.event_date from unread)
            then abs(partitions.row_count - coalesce(profile.rows_read, 0))
    end as rows_off_manifest,
    profile.name_missing / profile.rows_read as event_name_missing_share,
    profile.timestamp_missing / profile.rows_read as event_timestamp_missing_share,
    profile.date_missing / profile.rows_read as event_date_missing_share,
    profile.date_other / profile.rows_read as other_date_share,
    profile.timestamp_outside / nullif(profile.rows_read - profile.timestamp_missing, 0) as timestamp_outside_share,
    profile.to_quarantine as rows_to_quarantine,
    profile.unidentified / profile.rows_read as unidentified_share,
    profile.duplicates / profile.rows_read as duplicate_share,
    usual.history_days,
    usual.usual_rows,
    case
        when usual.history_days >= getvariable('history_days')
            then partitions.exported_rows / nullif(usual.usual_rows, 0)
    end as volume_ratio
from partitions
left join profile on partitions.event_date = profile.event_date
left join usual on partitions.event_date = usual.event_date
where partitions.is_changed;
