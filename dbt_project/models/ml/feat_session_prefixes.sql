{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_history()],
    on_schema_change='fail',
) }}

-- depends_on: {{ ref('int_touched_devices') }} {{ ref('int_touched_from') }}
with purchases as (
    select
        session_id,
        max(purchased_at) as last_purchased_at
    from {{ ref('fct_purchases') }}
    group by session_id
)

select
    context.session_id,
    context.user_pseudo_id,
    context.session_date,
    context.session_started_at,
    prefixes.decision_point,
    prefixes.decision_seconds,
    prefixes.is_at_risk,
    -- without a purchase so far, a purchase of the session is one after the decision point, also in the same batch
    case
        when prefixes.is_at_risk then context.has_purchase
        else coalesce(purchases.last_purchased_at > prefixes.decision_at, false)
    end as label_purchased,
    prefixes.decision_events,
    {{ behaviour_columns('prefixes') }},
    prefixes.idle_seconds,
    prefixes.last_event_name,
    prefixes.last_page_section,
    prefixes.last_gap_seconds,
    {{ context_columns('context') }}
from {{ ref('int_session_context') }} as context
inner join {{ ref('int_session_prefixes') }} as prefixes
    on context.session_date = prefixes.session_date and context.session_id = prefixes.session_id
left join purchases on context.session_id = purchases.session_id
{% if is_incremental() %}
    where {{ is_touched_history('context.user_pseudo_id', 'context.session_date') }}
{% endif %}
