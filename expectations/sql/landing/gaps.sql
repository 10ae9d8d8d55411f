-- One row per day without a partition, from the day before the first changed day to the last one.
create table gaps as
with bounds as (
    select
        greatest(min(event_date) filter (where is_changed) - 1, min(event_date)) as first_date,
        max(event_date) filter (where is_changed) as last_date
    from partitions
),

calendar as (
    select cast(unnest(generate_series(first_date, last_date, interval 1 day)) as date) as event_date
    from bounds
)

select
    cast(event_date as varchar) as subject,
    event_date
from calendar
where event_date not in (select partitions.event_date from partitions);
