{{ config(
    materialized='view',
    incremental_predicates=[is_touched_history()],
) }}

-- depends_on: {{ ref('int_touched_devices') }} {{ ref('int_touched_from') }}
with purchases as (
    select
        session_id,
        max(purchased_at) as last_purchased_at
    from {{ ref('int_purchases') }}
    group by session_id
)

select
    context.session_id,
    context.user_pseudo_id,
    context.session_date,
    context.session_started_at,
    points.decision_point,
    points.decision_seconds,
    points.is_at_risk,
    -- without a purchase so far, a purchase of the session is one after the decision point, also in the same batch
    case
        when points.is_at_risk then context.has_purchase
        else coalesce(purchases.last_purchased_at > points.decision_at, false)
    end as label_purchased,
    points.event_count as decision_events,
    {{ behaviour_columns('points', whole_session=false) }},
    points.idle_seconds,
    {{ context_columns('context') }}
from {{ ref('int_session_context') }} as context
inner join {{ ref('int_session_points') }} as points
    on context.session_date = points.session_date and context.session_no = points.session_no
left join purchases on context.session_id = purchases.session_id
where points.decision_point != 'before_purchase'
