{{ config(
    materialized='incremental',
    incremental_strategy='replace_dates',
    incremental_predicates=[is_touched_session_date()],
    on_schema_change='fail',
) }}

-- depends_on: {{ ref('int_touched_session_dates') }}
with decision_points as (
    {% for k in decision_points() %}
        select cast({{ k }} as bigint) as decision_events{{ ' union all' if not loop.last }}
    {% endfor %}
),

events as (
    select *
    from {{ ref('fct_events') }}
    where
        interaction_number <= {{ decision_points() | max }}
        {% if is_incremental() %}
            and {{ is_touched_session_date() }}
        {% endif %}
),

measured as (
    select
        events.session_id,
        events.session_date,
        decision_points.decision_events,
        max(events.event_at) as decision_at,
        {{ count_where("event_name in ('add_to_cart', 'begin_checkout', 'purchase')") }} = 0 as is_at_risk,
        {{ behaviour_measures() }}
    from events
    inner join decision_points on events.interaction_number <= decision_points.decision_events
    group by events.session_id, events.session_date, decision_points.decision_events
    -- alive: the k-th event has happened
    having count(*) = decision_points.decision_events
)

select
    *,
    {{ engagement_score() }} as engagement_score
from measured
