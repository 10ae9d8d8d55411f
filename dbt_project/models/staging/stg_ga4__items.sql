{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_event_date()],
) }}

-- A list of products is shown to many in the same form: each form of a day is written once, whatever its events.
with firsts as (
    select
        event_date,
        items_hash,
        min(event_key) as event_key
    from {{ ref('stg_ga4__events_parsed') }}
    where
        items_hash is not null
        {% if is_incremental() %}
            and {{ is_touched_event_date() }}
        {% endif %}
    group by event_date, items_hash
),

forms as (
    select
        firsts.event_date,
        firsts.items_hash,
        raw_events.items,
        raw_events.item_details
    from {{ ref('base_ga4__events') }} as raw_events
    inner join firsts on raw_events.event_key = firsts.event_key
    {% if is_incremental() %}
        where raw_events.lake_day in ({{ touched_lake_days() }})
    {% endif %}
),

raw_items as (
    select
        event_date,
        items_hash,
        {{ unnested_items('items', 'item_details') }}
    from forms
)

select
    event_date,
    items_hash,
    item_number,
    coalesce({{ item_text(row_field('item', 'item_id')) }}, {{ item_text(row_field('item', 'item_name')) }})
        as product_id,
    {% for field in ['item_id', 'item_name', 'item_category'] -%}
        {{ item_text(row_field('item', field)) }} as {{ field }},
    {% endfor -%}
    {% for field in [
        'item_brand', 'item_variant', 'item_category2', 'item_category3', 'item_category4', 'item_category5', 'coupon',
        'affiliation', 'location_id', 'item_list_id', 'item_list_name', 'promotion_id', 'promotion_name',
        'creative_name', 'creative_slot'
    ] -%}
        {{ item_text(row_field('detail', field)) }} as {{ field }},
    {% endfor -%}
    try_cast({{ row_field('detail', 'item_list_index') }} as bigint) as item_list_index,
    -- nobody buys a million pieces: a hit of anybody's making must not stop the sums
    case
        when {{ row_field('item', 'quantity') }} between 0 and 1000000 then {{ row_field('item', 'quantity') }}
        else 1
    end as quantity,
    {{ amount_or_null(row_field('item', 'price_in_usd')) }} as price_usd,
    {{ amount_or_null(row_field('item', 'item_revenue_in_usd')) }} as item_revenue_usd,
    {{ amount_or_null(row_field('item', 'item_refund_in_usd')) }} as item_refund_usd,
    {{ amount_or_null(row_field('detail', 'price')) }} as price_local,
    {{ amount_or_null(row_field('detail', 'item_revenue')) }} as item_revenue_local,
    {{ amount_or_null(row_field('detail', 'item_refund')) }} as item_refund_local,
    {{ row_field('detail', 'item_params') }} as item_params
from raw_items
