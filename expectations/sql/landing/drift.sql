-- One row per column and way in which changed days differ from the known schema.
create table drift as
select
    seen_drift.column_name || if(count(*) = 1, ' on ', ' on ' || count(*) || ' days, ') || min(seen_drift.event_date)
    || if(count(*) = 1, '', ' to ' || max(seen_drift.event_date)) as subject,
    seen_drift.change,
    seen_drift.column_name in getvariable('required_columns') as is_required
from seen_drift
inner join partitions on seen_drift.event_date = partitions.event_date
where partitions.is_changed
group by seen_drift.change, seen_drift.column_name;
