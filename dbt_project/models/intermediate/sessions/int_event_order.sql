{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_session_date()],
) }}

-- depends_on: {{ ref('int_touched_session_dates') }}
-- Only what the order needs is sorted: the wide rows stay where they are, and meet their place by key.
with events as (
    select
        events.event_key,
        events.session_key as session_id,
        sessions.session_no,
        sessions.session_date,
        events.event_timestamp,
        events.batch_page_id,
        events.batch_ordering_id,
        events.batch_event_index,
        events.is_entrance,
        events.event_hash,
        events.is_background,
        events.event_name not in ('session_start', 'first_visit') and not events.is_background as is_interaction,
        events.event_name in ('page_view', 'screen_view') as is_page_view,
        events.page_path
    from {{ ref('int_events') }} as events
    inner join {{ ref('int_touched_sessions') }} as sessions on events.session_key = sessions.session_id
    {% if is_incremental() %}
        where
            events.event_date >= (select min(first_event_date) from {{ ref('int_touched_sessions') }})
            and events.event_date <= (select max(last_event_date) from {{ ref('int_touched_sessions') }})
    {% endif %}
),

numbered as (
    select
        *,
        row_number() over in_session as event_number,
        case when is_interaction then count(case when is_interaction then 1 end) over up_to_here end
            as interaction_number,
        lag(event_timestamp) over in_session as previous_event_timestamp,
        {{ latest_before(
            'case when is_page_view then page_path end', 'session_no', event_order()
        ) }} as previous_page_path
    from events
    window
        in_session as (partition by session_no order by {{ event_order() }}),
        up_to_here as (
            partition by session_no order by {{ event_order() }}
            rows between unbounded preceding and current row
        )
)

select
    event_key,
    session_id,
    session_no,
    session_date,
    event_number,
    interaction_number,
    is_background,
    cast(event_timestamp - previous_event_timestamp as double) / 1000000 as seconds_since_previous_event,
    -- the time GA4 sends with a page_view was spent on the page before it (rule 12)
    case when is_page_view then previous_page_path else page_path end as engagement_page_path
from numbered
