{{ config(
    materialized='incremental',
    incremental_strategy='replace_dates',
    incremental_predicates=[is_touched_session_date()],
    on_schema_change='fail',
) }}

-- depends_on: {{ ref('int_touched_session_dates') }}
with events as (
    select *
    from {{ ref('fct_events') }}
    {% if is_incremental() %}
        where {{ is_touched_session_date() }}
    {% endif %}
),

-- Any purchase event ends what the model may see, also one that turns out to be a reloaded order page: nothing on or
-- after a confirmation page is ever a feature.
first_purchases as (
    select
        session_id,
        min(event_number) as event_number
    from events
    where event_name = 'purchase'
    group by session_id
),

before_purchase as (
    select events.*
    from events
    left join first_purchases on events.session_id = first_purchases.session_id
    where
        events.interaction_number is not null
        and (first_purchases.event_number is null or events.event_number < first_purchases.event_number)
),

measured as (
    select
        session_id,
        session_date,
        {{ behaviour_measures() }},
        {{ count_where("event_name = 'add_to_cart'") }} as add_to_carts,
        {{ count_where("event_name = 'remove_from_cart'") }} as remove_from_carts,
        {{ count_where("event_name = 'view_cart'") }} as cart_views,
        coalesce({{ sum_money("case when event_name = 'add_to_cart' then value_usd end") }}, 0) as cart_value_usd,
        {{ count_where("event_name = 'begin_checkout'") }} as begin_checkouts,
        {{ count_where("event_name = 'add_shipping_info'") }} as add_shipping_infos,
        {{ count_where("event_name = 'add_payment_info'") }} as add_payment_infos
    from before_purchase
    group by session_id, session_date
)

select
    *,
    {{ engagement_score() }} as engagement_score
from measured
