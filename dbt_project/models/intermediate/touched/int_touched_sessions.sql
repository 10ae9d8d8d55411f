-- The sessions of the partitions to rewrite: whatever dates its events lie on, a session is dated by the first of its
-- visitor. Background events alone are none.
with candidates as (
    select distinct session_id
    from {{ ref('int_session_days') }}
    where event_date in (select session_date from {{ ref('int_touched_session_dates') }})
),

spans as (
    select
        days.session_id,
        min(case when days.is_visit then days.event_date end) as session_date,
        min(days.event_date) as first_event_date,
        max(days.event_date) as last_event_date
    from {{ ref('int_session_days') }} as days
    inner join candidates on days.session_id = candidates.session_id
    group by days.session_id
)

select
    session_id,
    {{ session_number('session_id') }} as session_no,
    session_date,
    first_event_date,
    last_event_date
from spans
where session_date in (select session_date from {{ ref('int_touched_session_dates') }})
