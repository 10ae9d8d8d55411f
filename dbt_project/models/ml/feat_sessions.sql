{{ config(
    materialized='view',
    incremental_predicates=[is_touched_history()],
) }}

-- depends_on: {{ ref('int_touched_devices') }} {{ ref('int_touched_from') }}
-- A session of nothing but session_start and first_visit has no behaviour to learn from.
select
    context.session_id,
    context.user_pseudo_id,
    context.session_date,
    context.session_started_at,
    context.has_purchase as label_purchased,
    points.event_count,
    {{ behaviour_columns('points', whole_session=true) }},
    {{ context_columns('context') }}
from {{ ref('int_session_context') }} as context
inner join {{ ref('int_session_points') }} as points
    on context.session_date = points.session_date and context.session_no = points.session_no
where points.decision_point = 'before_purchase'
