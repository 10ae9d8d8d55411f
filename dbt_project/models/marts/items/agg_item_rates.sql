{% set rates = [
    ('view_to_cart', 'sessions_with_view_and_cart', 'sessions_with_view'),
    ('cart_to_order', 'sessions_with_cart_and_order', 'sessions_with_cart'),
    ('view_to_order', 'sessions_with_view_and_order', 'sessions_with_view'),
] %}
{% set counts = [
    'sessions_with_view', 'sessions_with_cart', 'sessions_with_order', 'sessions_with_view_and_cart',
    'sessions_with_cart_and_order', 'sessions_with_view_and_order'
] %}
with days as (
    select kpi_date
    from {{ ref('int_days') }}
    where not is_provisional
    order by kpi_date desc
    limit {{ var('item_rate_days') }}
),

counted as (
    select
        daily.product_id,
        {% for name in counts %}
            cast(sum(daily.{{ name }}) as bigint) as {{ name }},
        {% endfor %}
        min(daily.session_date) as first_date,
        max(daily.session_date) as last_date
    from {{ ref('agg_item_sessions_daily') }} as daily
    inner join days on daily.session_date = days.kpi_date
    group by daily.product_id
)

select
    counted.product_id,
    products.item_name,
    products.item_brand,
    products.item_category,
    {% for name in counts %}
        counted.{{ name }},
    {% endfor %}
    {% for rate, successes, observed in rates %}
        {{ safe_divide(successes, observed) }} as {{ rate }}_rate,
        {{ wilson_bound(successes, observed, 'low') }} as {{ rate }}_rate_low,
        {{ wilson_bound(successes, observed, 'high') }} as {{ rate }}_rate_high,
    {% endfor %}
    counted.first_date,
    counted.last_date
from counted
left join {{ ref('dim_products') }} as products on counted.product_id = products.product_id
