-- One row per session.
create view sessions as
select
    session_id as subject,
    session_id,
    event_count as events
from warehouse.marts.fct_sessions;
