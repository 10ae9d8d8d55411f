{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_kpi_date()],
    on_schema_change='fail',
) }}

-- depends_on: {{ ref('int_touched_kpi_dates') }}
{% set steps = [
    ('session', 'true'),
    ('view_item', 'product_views > 0'),
    ('add_to_cart', 'has_add_to_cart'),
    ('begin_checkout', 'has_begin_checkout'),
    ('add_shipping_info', 'has_add_shipping_info'),
    ('add_payment_info', 'has_add_payment_info'),
    ('purchase', 'has_purchase'),
] %}

with measured as (
    {% for step, condition in steps %}
        select
            session_date as kpi_date,
            device_category,
            default_channel_group,
            custom_channel_group,
            cast({{ loop.index }} as bigint) as step_number,
            '{{ step }}' as step,
            {{ count_where(condition) }} as sessions,
            count(*) as all_sessions
        from {{ ref('int_session_facts') }}
        {% if is_incremental() %}
            where {{ is_touched_kpi_date('session_date') }}
        {% endif %}
        group by session_date, device_category, default_channel_group, custom_channel_group
        {{ 'union all' if not loop.last }}
    {% endfor %}
)

select
    kpi_date,
    device_category,
    default_channel_group,
    custom_channel_group,
    step_number,
    step,
    sessions,
    {{ safe_divide('sessions', 'all_sessions') }} as share_of_sessions
from measured
