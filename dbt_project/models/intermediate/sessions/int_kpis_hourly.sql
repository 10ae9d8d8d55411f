{{ config(
    materialized='incremental',
    incremental_predicates=[is_touched_kpi_date()],
) }}

{%- set dimensions = ['device_category', 'default_channel_group'] -%}
{%- set measures = hourly_measures() -%}

-- depends_on: {{ ref('int_touched_kpi_dates') }}
-- What happened in each hour, added up by the date that it belongs to, so that a day can be rewritten: an hour after
-- midnight may have rows of two dates. Hours count from the property's midnight in real time.
with days as (
    select
        kpi_date,
        {{ property_midnight('kpi_date') }} as midnight
    from {{ ref('int_days') }}
    {% if is_incremental() %}
        where {{ is_touched_kpi_date() }}
    {% endif %}
),

sessions as (
    select
        sessions.session_id,
        sessions.session_date,
        sessions.session_started_at,
        sessions.is_new_user,
        {% for dimension in dimensions %}
            sessions.{{ dimension }},
        {% endfor %}
        steps.cart_at,
        steps.checkout_at
    from {{ ref('int_session_facts') }} as sessions
    left join {{ ref('int_session_steps') }} as steps
        on sessions.session_date = steps.session_date and sessions.session_id = steps.session_id
    {% if is_incremental() %}
        where {{ is_touched_kpi_date('sessions.session_date') }}
    {% endif %}
),

last_purchases as (
    select
        session_id,
        max(purchased_at) as purchased_at
    from {{ ref('fct_purchases') }}
    where session_id is not null
    group by session_id
),

moments as (
    {% set starts = [
        ('session_started_at', 'sessions', none), ('cart_at', 'carts', 'carts_bought'),
        ('checkout_at', 'checkouts', 'checkouts_bought')
    ] %}
    {% for at, counted, bought in starts %}
        select
            sessions.session_date as kpi_date,
            sessions.{{ at }} as happened_at,
            {% for dimension in dimensions %}
                sessions.{{ dimension }},
            {% endfor %}
            {% for measure in measures %}
                {% if measure == counted %}
                    1 as {{ measure }},
                {% elif measure == 'new_users' and counted == 'sessions' %}
                    case when sessions.is_new_user then 1 else 0 end as {{ measure }},
                {% elif measure == bought %}
                    case when purchases.purchased_at >= sessions.{{ at }} then 1 else 0 end as {{ measure }},
                {% else %}
                    0 as {{ measure }},
                {% endif %}
            {% endfor %}
            cast(0 as double) as revenue_usd,
            cast(0 as double) as new_buyer_revenue_usd
        from sessions
        {% if bought %}
            left join last_purchases as purchases on sessions.session_id = purchases.session_id
        {% endif %}
        where sessions.{{ at }} is not null
        union all
    {% endfor %}
    select
        purchases.purchase_date as kpi_date,
        purchases.purchased_at as happened_at,
        {% for dimension in dimensions %}
            coalesce(sessions.{{ dimension }}, '(not set)') as {{ dimension }},
        {% endfor %}
        {% for measure in measures %}
            {% if measure == 'new_buyer_purchases' %}
                case when purchases.is_first_order then 1 else 0 end as {{ measure }},
            {% else %}
                {{ 1 if measure == 'purchases' else 0 }} as {{ measure }},
            {% endif %}
        {% endfor %}
        purchases.revenue_usd,
        case when purchases.is_first_order then purchases.revenue_usd else 0 end as new_buyer_revenue_usd
    from {{ ref('fct_purchases') }} as purchases
    left join {{ ref('int_session_facts') }} as sessions on purchases.session_id = sessions.session_id
    {% if is_incremental() %}
        where {{ is_touched_kpi_date('purchases.purchase_date') }}
    {% endif %}
),

placed as (
    select
        moments.*,
        {{ hour_since('days.midnight', 'moments.happened_at') }} as hour_started_at
    from moments
    inner join days on moments.kpi_date = days.kpi_date
),

events as (
    select
        days.kpi_date,
        {{ hour_since('days.midnight', 'events.event_at') }} as hour_started_at,
        count(*) as events
    from {{ ref('stg_ga4__events') }} as events
    inner join days on events.event_date = days.kpi_date
    group by days.kpi_date, {{ hour_since('days.midnight', 'events.event_at') }}
)

select
    kpi_date,
    hour_started_at,
    'all' as dimension,
    'all' as dimension_value,
    events,
    {% for measure in measures %}
        cast(0 as bigint) as {{ measure }},
    {% endfor %}
    cast(0 as double) as revenue_usd,
    cast(0 as double) as new_buyer_revenue_usd
from events
{% for dimension in ['all'] + dimensions %}
    {% set value = "'all'" if dimension == 'all' else dimension %}
    union all
    select
        kpi_date,
        hour_started_at,
        '{{ dimension }}' as dimension,
        {{ value }} as dimension_value,
        cast(0 as bigint) as events,
        {% for measure in measures %}
            cast(sum({{ measure }}) as bigint) as {{ measure }},
        {% endfor %}
        {{ sum_money('revenue_usd') }} as revenue_usd,
        {{ sum_money('new_buyer_revenue_usd') }} as new_buyer_revenue_usd
    from placed
    group by kpi_date, hour_started_at{{ '' if dimension == 'all' else ', ' ~ dimension }}
{% endfor %}
