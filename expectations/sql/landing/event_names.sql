-- One row per event name of the changed days.
create table event_names as
select
    event_name || ' (rows: ' || sum(row_count) || ', days: ' || count(*) || ')' as subject,
    event_name
from event_profile
where not is_blank
group by event_name;
