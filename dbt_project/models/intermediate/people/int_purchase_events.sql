{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_session_event_date()],
) }}

-- depends_on: {{ ref('int_touched_event_dates') }}
-- Only visitors can convert: a cookieless purchase counts as an event and as nothing else (rule 11). A refund needs no
-- visitor: it belongs to its transaction.
select
    {{ event_id('event_date', 'event_hash') }} as event_id,
    event_date,
    event_at,
    event_timestamp,
    batch_page_id,
    batch_ordering_id,
    batch_event_index,
    is_entrance,
    event_hash,
    event_name,
    session_key as session_id,
    user_pseudo_id,
    user_id,
    stream_id,
    transaction_id,
    -- the shop's sites share their order numbers; an app's store counts on its own
    case when platform = 'web' then 'web' else stream_id end as order_namespace,
    purchase_revenue_usd,
    refund_value_usd,
    items,
    items_hash,
    item_quantity,
    currency,
    revenue_local,
    shipping_usd,
    shipping_local,
    tax_usd,
    tax_local,
    coupon,
    payment_type,
    shipping_tier
from {{ ref('int_events') }}
where
    {{ is_about_money('event_name') }}
    {% if not var('count_in_app_purchases') %}
        and event_name != 'in_app_purchase'
    {% endif %}
    and (event_name = 'refund' or user_pseudo_id is not null)
    {% if is_incremental() %}
        and {{ is_touched_session_event_date() }}
    {% endif %}
