{{ config(materialized='view') }}

-- The sessions that led to a purchase: the person's, within the look-back before it, on any device.
with purchases as (
    select
        purchases.purchase_id,
        purchases.purchased_at,
        purchases.purchase_date,
        purchases.revenue_usd,
        purchases.session_id as purchase_session_id,
        sessions.user_key
    from {{ ref('fct_purchases') }} as purchases
    inner join {{ ref('fct_sessions') }} as sessions on purchases.session_id = sessions.session_id
)

select
    purchases.purchase_id,
    purchases.purchased_at,
    purchases.purchase_date,
    purchases.revenue_usd,
    purchases.purchase_session_id,
    -- the last touch is the session that bought, also where the person has begun another one in the meantime
    purchases.purchase_session_id = touches.session_id as is_purchase_session,
    purchases.user_key,
    touches.session_id,
    touches.session_number,
    touches.session_started_at,
    touches.user_pseudo_id,
    touches.device_category,
    touches.is_direct_entry,
    touches.session_source as source,
    touches.session_medium as medium,
    touches.session_campaign as campaign,
    touches.session_default_channel_group as default_channel_group
from purchases
inner join {{ ref('fct_sessions') }} as touches
    on
        purchases.user_key = touches.user_key
        and (
            purchases.purchase_session_id = touches.session_id
            or (
                purchases.purchased_at >= touches.session_started_at
                and purchases.purchased_at
                <= {{ add_days('touches.session_started_at', var('attribution_lookback_days')) }}
            )
        )
