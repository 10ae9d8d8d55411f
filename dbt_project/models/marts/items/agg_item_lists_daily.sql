{{ config(materialized='view') }}

{% set kinds = [('list', 'item_list'), ('promotion', 'promotion')] %}
with led as (
    {% for kind, columns in kinds %}
        select
            session_date,
            '{{ kind }}' as kind,
            {{ columns }}_id as list_id,
            {{ columns }}_name as list_name,
            carts,
            orders,
            quantity,
            revenue_usd
        from {{ ref('fct_item_attribution') }}
        {{ 'union all' if not loop.last }}
    {% endfor %}
),

counted as (
    select
        session_date,
        kind,
        list_id,
        list_name,
        views,
        clicks,
        0 as carts,
        0 as orders,
        0 as quantity,
        cast(0 as double) as revenue_usd
    from {{ ref('int_item_list_days') }}
    union all
    select
        session_date,
        kind,
        list_id,
        list_name,
        0 as views,
        0 as clicks,
        carts,
        orders,
        quantity,
        revenue_usd
    from led
)

select
    session_date,
    kind,
    -- carts that no list led to have a row too, so that each kind adds up to all of them
    coalesce(list_id, '(not set)') as list_id,
    coalesce(list_name, '(not set)') as list_name,
    cast(sum(views) as bigint) as views,
    cast(sum(clicks) as bigint) as clicks,
    cast(sum(carts) as bigint) as carts,
    cast(sum(orders) as bigint) as orders,
    cast(sum(quantity) as bigint) as quantity,
    {{ sum_money('revenue_usd') }} as revenue_usd
from counted
group by session_date, kind, coalesce(list_id, '(not set)'), coalesce(list_name, '(not set)')
