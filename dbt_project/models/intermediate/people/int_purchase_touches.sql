{{ config(materialized='view') }}

-- The sessions that led to a purchase: the person's, within the look-back before it, on any device.
select
    purchases.purchase_id,
    purchases.purchased_at,
    purchases.purchase_date,
    purchases.revenue_usd,
    purchases.session_id as purchase_session_id,
    -- the last touch is the session that bought, also where the person has begun another one in the meantime
    coalesce(purchases.session_id = touches.session_id, false) as is_purchase_session,
    purchases.user_key,
    touches.session_id,
    touches.session_number,
    -- an order of nobody who has come: what else is known of it is when
    coalesce(touches.session_started_at, purchases.purchased_at) as session_started_at,
    coalesce(touches.user_pseudo_id, purchases.user_pseudo_id) as user_pseudo_id,
    coalesce(touches.device_category, '(not set)') as device_category,
    coalesce(touches.is_direct_entry, true) as is_direct_entry,
    coalesce(touches.session_source, '(direct)') as source,
    case when touches.session_id is null then '(none)' else touches.session_medium end as medium,
    touches.session_campaign as campaign,
    coalesce(touches.session_default_channel_group, 'Direct') as default_channel_group,
    coalesce(touches.session_custom_channel_group, 'Direct') as custom_channel_group
from {{ ref('int_user_purchases') }} as purchases
left join {{ ref('int_session_facts') }} as touches
    on
        purchases.user_key = touches.user_key
        and (
            purchases.session_id = touches.session_id
            or (
                purchases.purchased_at >= touches.session_started_at
                and purchases.purchased_at
                <= {{ add_days('touches.session_started_at', var('attribution_lookback_days')) }}
            )
        )
