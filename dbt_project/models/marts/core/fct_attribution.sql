{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_user()],
    on_schema_change='fail',
) }}

-- depends_on: {{ ref('int_touched_users') }}
with touches as (
    select
        *,
        {{ count_where('not is_direct_entry') }} over (partition by purchase_id) as non_direct_touches
    from {{ ref('int_purchase_touches') }}
    {% if is_incremental() %}
        where {{ is_touched_user() }}
    {% endif %}
),

-- A direct visit takes no credit from a known source: it counts only where nothing else led to the purchase.
credited as (
    select
        *,
        row_number() over (partition by purchase_id order by is_purchase_session, session_number) as touch_number,
        count(*) over (partition by purchase_id) as touches,
        {{ seconds_between('session_started_at', 'purchased_at') }} / 86400 as days_before_purchase
    from touches
    where not is_direct_entry or non_direct_touches = 0
),

weighted as (
    select
        *,
        -- Decimals add up exactly, in whatever order the rows come. The newest touch weighs 1, so that they never come
        -- to nothing, however long ago all of them were.
        cast(
            power(
                0.5,
                (days_before_purchase - min(days_before_purchase) over (partition by purchase_id))
                / {{ var('attribution_half_life_days') }}
            ) as decimal(20, 15)
        ) as decay_weight
    from credited
)

select
    purchase_id,
    session_id,
    user_key,
    purchased_at,
    purchase_date,
    revenue_usd as purchase_revenue_usd,
    touch_number,
    touches,
    session_started_at as touched_at,
    days_before_purchase,
    source,
    medium,
    campaign,
    default_channel_group,
    custom_channel_group,
    device_category,
    cast(case when touch_number = 1 then 1 else 0 end as double) as first_click_credit,
    cast(case when touch_number = touches then 1 else 0 end as double) as last_click_credit,
    {{ safe_divide('1', 'touches') }} as linear_credit,
    case
        when touches = 1 then 1.0
        when touches = 2 then 0.5
        when touch_number in (1, touches) then 0.4
        else {{ safe_divide('0.2', 'touches - 2') }}
    end as position_based_credit,
    {{ safe_divide('decay_weight', 'sum(decay_weight) over (partition by purchase_id)') }} as time_decay_credit
from weighted
