{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_session_date()],
) }}

{% set event_counts = {
    'list_views': 'view_item_list',
    'list_clicks': 'select_item',
    'views': 'view_item',
    'wishlist_adds': 'add_to_wishlist',
    'carts': 'add_to_cart',
    'removals': 'remove_from_cart',
    'checkouts': 'begin_checkout',
    'purchase_events': 'purchase',
} %}
-- depends_on: {{ ref('int_touched_session_dates') }}
select
    counted.session_date,
    items.product_id,
    items.item_name,
    items.item_brand,
    items.item_variant,
    items.item_category,
    items.item_category2,
    items.item_category3,
    items.item_category4,
    items.item_category5,
    items.price_usd,
    cast(sum(counted.events) as bigint) as times_seen,
    {% for column in event_counts if column != 'purchase_events' %}
        cast(sum(counted.{{ column }}) as bigint) as {{ column }},
    {% endfor %}
    cast(sum(counted.carts * items.quantity) as bigint) as cart_quantity,
    cast(sum(counted.removals * items.quantity) as bigint) as removed_quantity
from {{ counted_items(event_counts) }} as counted
inner join {{ ref('stg_ga4__items') }} as items
    on counted.event_date = items.event_date and counted.items_hash = items.items_hash
where items.product_id is not null
group by
    counted.session_date, items.product_id, items.item_name, items.item_brand, items.item_variant, items.item_category,
    items.item_category2, items.item_category3, items.item_category4, items.item_category5, items.price_usd
