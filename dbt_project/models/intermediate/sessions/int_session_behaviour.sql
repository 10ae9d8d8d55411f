{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_session_date()],
) }}

-- depends_on: {{ ref('int_touched_session_dates') }}
with interactions as (
    select *
    from {{ ref('int_session_interactions') }}
    {% if is_incremental() %}
        where {{ is_touched_session_date() }}
    {% endif %}
),

-- What the model may see ends before the first purchase event, also one that turns out to be a reloaded order page, or
-- the first confirmation page, which may be measured a moment earlier. Strictly before in time: within one batch the
-- order of events is not always exported.
ends as (
    select
        session_id,
        min(event_at) as ended_at
    from interactions
    where is_purchase_or_confirmation
    group by session_id
),

measured as (
    select
        interactions.session_id,
        interactions.session_date,
        {{ behaviour_measures('interactions.event_at', 'min(interactions.event_at)') }},
        {{ count_where("event_name = 'add_to_cart'") }} as add_to_carts,
        {{ count_where("event_name = 'remove_from_cart'") }} as remove_from_carts,
        {{ count_where("event_name = 'view_cart'") }} as cart_views,
        coalesce({{ sum_money('cart_value_usd') }}, 0) as cart_value_usd,
        {{ count_where("event_name = 'begin_checkout'") }} as begin_checkouts,
        {{ count_where("event_name = 'add_shipping_info'") }} as add_shipping_infos,
        {{ count_where("event_name = 'add_payment_info'") }} as add_payment_infos
    from interactions
    left join ends on interactions.session_id = ends.session_id
    where ends.ended_at is null or interactions.event_at < ends.ended_at
    group by interactions.session_id, interactions.session_date
)

select
    *,
    {{ engagement_score() }} as engagement_score
from measured
