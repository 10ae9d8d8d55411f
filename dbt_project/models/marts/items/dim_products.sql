{% set fields = [
    'item_name', 'item_brand', 'item_category', 'item_category2', 'item_category3', 'item_category4', 'item_category5'
] %}
-- Each field as it was last told, since an order often names no more than the id; of a day what it told most often.
with told as (
    select
        product_id,
        session_date as told_date,
        {% for field in fields -%}
            {{ field }},
        {% endfor -%}
        item_variant,
        sum(times_seen) as times_seen
    from {{ ref('int_item_days') }}
    group by product_id, session_date, item_variant, {{ fields | join(', ') }}
    union all
    -- a server's order is of no session
    select
        product_id,
        purchase_date as told_date,
        {% for field in fields -%}
            {{ field }},
        {% endfor -%}
        nullif(item_variant, '(not set)') as item_variant,
        0 as times_seen
    from {{ ref('int_order_items') }}
    where session_id is null and product_id != '(not set)'
),

ranked as (
    select
        *,
        row_number() over (
            partition by product_id
            order by told_date desc, times_seen desc, item_variant, {{ fields | join(', ') }}
        ) as recency
    from told
),

described as (
    select
        product_id,
        {% for field in fields -%}
            {{ earliest_where(field, 'recency', field ~ ' is not null') }} as {{ field }},
        {% endfor -%}
        count(distinct item_variant) as variants,
        min(told_date) as first_seen_date,
        max(told_date) as last_seen_date
    from ranked
    group by product_id
),

prices as (
    select
        product_id,
        {{ max_where('price_usd', 'is_current') }} as price_usd,
        {{ max_where('valid_from_date', 'is_current') }} as price_since_date,
        min(price_usd) as lowest_price_usd,
        max(price_usd) as highest_price_usd,
        count(*) - 1 as price_changes
    from {{ ref('dim_product_prices') }}
    group by product_id
)

select
    described.product_id,
    {% for field in fields -%}
        described.{{ field }},
    {% endfor -%}
    described.variants,
    described.first_seen_date,
    described.last_seen_date,
    prices.price_usd,
    prices.price_since_date,
    prices.lowest_price_usd,
    prices.highest_price_usd,
    coalesce(prices.price_changes, 0) as price_changes
from described
left join prices on described.product_id = prices.product_id
