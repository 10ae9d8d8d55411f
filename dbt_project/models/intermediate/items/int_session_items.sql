{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_session_date()],
) }}

-- depends_on: {{ ref('int_touched_session_dates') }}
-- What a session did with a product, and the list and the promotion that led to its cart.
with shopped as (
    select
        events.session_id,
        events.session_no,
        events.session_date,
        events.event_number,
        events.event_name,
        items.item_number,
        items.product_id,
        items.quantity,
        items.price_usd
    from {{ session_item_events([
        'view_item', 'add_to_cart', 'remove_from_cart', 'begin_checkout', 'purchase', 'in_app_purchase'
    ]) }} as events
    inner join {{ ref('stg_ga4__items') }} as items
        on events.event_date = items.event_date and events.items_hash = items.items_hash
    where items.product_id is not null
),

measured as (
    select
        session_no,
        session_date,
        product_id,
        max(session_id) as session_id,
        {{ count_where("event_name = 'view_item'") }} as views,
        {{ count_where("event_name = 'add_to_cart'") }} as carts,
        cast(sum(case when event_name = 'add_to_cart' then quantity else 0 end) as bigint) as cart_quantity,
        cast(sum(case when event_name = 'remove_from_cart' then quantity else 0 end) as bigint) as removed_quantity,
        {{ count_where("event_name = 'begin_checkout'") }} as checkouts,
        {{ earliest_where(
            'price_usd', '-(event_number * 1000000 + item_number)', "event_name = 'add_to_cart' and price_usd is not null"
        ) }} as cart_price_usd,
        coalesce(
            min(case when event_name = 'add_to_cart' then event_number end),
            min(case when event_name in ('purchase', 'in_app_purchase') then event_number end)
        ) as wanted_number
    from shopped
    group by session_no, session_date, product_id
),

wanted as (
    select
        session_no,
        product_id,
        wanted_number
    from measured
    where wanted_number is not null
),

-- Any item names the list that it was seen in, that of the cart itself too.
seen as (
    select
        events.session_no,
        events.event_name,
        events.event_number,
        events.event_number * 1000000 + items.item_number as seen_order,
        items.product_id,
        items.item_list_id,
        items.item_list_name,
        items.promotion_id,
        items.promotion_name
    from {{ session_item_events([
        'view_item_list', 'select_item', 'view_promotion', 'select_promotion', 'view_item', 'add_to_cart', 'purchase'
    ]) }} as events
    inner join {{ ref('stg_ga4__items') }} as items
        on events.event_date = items.event_date and events.items_hash = items.items_hash
    where
        coalesce(items.item_list_id, items.item_list_name, items.promotion_id, items.promotion_name) is not null
        and events.session_no in (select wanted.session_no from wanted)
),

led as (
    select
        wanted.session_no,
        wanted.product_id,
        {{ earliest_where(
            row_of(['item_list_id', 'item_list_name']), '-seen.seen_order',
            'coalesce(seen.item_list_id, seen.item_list_name) is not null'
        ) }} as last_list,
        {{ earliest_where(
            row_of(['promotion_id', 'promotion_name']), '-seen.seen_order',
            'coalesce(seen.promotion_id, seen.promotion_name) is not null'
        ) }} as last_promotion
    from wanted
    inner join seen
        on
            wanted.session_no = seen.session_no
            and wanted.product_id = seen.product_id
    where seen.event_number <= wanted.wanted_number
    group by wanted.session_no, wanted.product_id
),

-- A banner names no product: whoever clicked it may have come to any.
banners as (
    select
        wanted.session_no,
        wanted.product_id,
        {{ earliest(row_of(['promotion_id', 'promotion_name']), '-seen.seen_order') }} as last_banner
    from wanted
    inner join seen on wanted.session_no = seen.session_no
    where
        seen.product_id is null
        and seen.event_name = 'select_promotion'
        and seen.event_number < wanted.wanted_number
    group by wanted.session_no, wanted.product_id
)

select
    measured.session_no,
    measured.session_id,
    measured.session_date,
    measured.product_id,
    measured.views,
    measured.carts,
    measured.cart_quantity,
    measured.removed_quantity,
    measured.checkouts,
    measured.cart_price_usd,
    measured.wanted_number,
    {{ row_field('led.last_list', 'item_list_id') }} as item_list_id,
    {{ row_field('led.last_list', 'item_list_name') }} as item_list_name,
    {{ row_field('coalesce(led.last_promotion, banners.last_banner)', 'promotion_id') }} as promotion_id,
    {{ row_field('coalesce(led.last_promotion, banners.last_banner)', 'promotion_name') }} as promotion_name,
    led.last_promotion is null and banners.last_banner is not null as is_banner
from measured
left join led on measured.session_no = led.session_no and measured.product_id = led.product_id
left join banners on measured.session_no = banners.session_no and measured.product_id = banners.product_id
