-- One row per such difference on the changed day on which it begins, against the loaded day before, as in dbt's
-- ops.schema_changes; but the return to the known schema is none.
create table schema_changes as
with previous as (
    select
        event_date,
        lag(event_date) over (order by event_date) as previous_date
    from partitions
)

select
    now.column_name || if(now.exported_as = '', '', ' as ' || left(now.exported_as, 120))
    || ' from ' || now.event_date
    || coalesce(
        ' (' || if(before.change = 'missing', 'absent', left(before.exported_as, 120)) || ' before)', ''
    ) as subject,
    now.change,
    now.column_name,
    now.event_date
from seen_drift as now
inner join partitions on now.event_date = partitions.event_date
inner join previous on now.event_date = previous.event_date
left join seen_drift as before
    on
        now.column_name = before.column_name
        and previous.previous_date = before.event_date
where
    partitions.is_changed
    and (before.change, before.exported_as) is distinct from (now.change, now.exported_as);
