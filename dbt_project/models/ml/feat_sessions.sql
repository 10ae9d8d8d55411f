{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_history()],
    on_schema_change='fail',
) }}

-- depends_on: {{ ref('int_touched_devices') }} {{ ref('int_touched_from') }}
-- A session of nothing but session_start and first_visit has no behaviour to learn from.
select
    context.session_id,
    context.user_pseudo_id,
    context.session_date,
    context.session_started_at,
    context.has_purchase as label_purchased,
    behaviour.event_count,
    {{ behaviour_columns('behaviour') }},
    behaviour.add_to_carts,
    behaviour.remove_from_carts,
    behaviour.cart_views,
    behaviour.cart_value_usd,
    behaviour.begin_checkouts,
    behaviour.add_shipping_infos,
    behaviour.add_payment_infos,
    {{ context_columns('context') }}
from {{ ref('int_session_context') }} as context
inner join {{ ref('int_session_behaviour') }} as behaviour
    on context.session_date = behaviour.session_date and context.session_id = behaviour.session_id
{% if is_incremental() %}
    where {{ is_touched_history('context.user_pseudo_id', 'context.session_date') }}
{% endif %}
