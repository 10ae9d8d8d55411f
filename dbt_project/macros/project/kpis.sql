{#- The KPIs of one table: `daily` is agg_kpis_daily, `dimension` agg_kpis_daily_by_dimension, `hourly` agg_sessions_hourly.
    Each is defined here and nowhere else, by its name, the tables that have it and its formula over rows of fct_sessions.
    A total is 0 where there are no sessions, anything else null there. A name that ends in `_rate` promises a share: the
    expectations hold it between 0 and 1.

    mean_log_duration_engaged takes log(1 + seconds): far less noisy than the mean, which a few very long sessions pull
    about. `purchases` and `revenue_usd` are those of the sessions; agg_kpis_daily dates purchases by themselves. A new
    visitor is a device that GA4 had not counted before (is_new_user), a new buyer a person with a first order; what is of
    returning ones is the rest, for a difference costs less than another aggregate. -#}
{% macro session_kpis(table) -%}
    {%- set everywhere = ['daily', 'dimension', 'hourly'] -%}
    {%- set by_day = ['daily', 'dimension'] -%}
    {%- set by_session = ['dimension', 'hourly'] -%}
    {%- set kpis = [
        {
            'name': 'sessions', 'tables': everywhere, 'is_total': true,
            'formula': 'count(*)'
        },
        {
            'name': 'users', 'tables': everywhere, 'is_total': true,
            'formula': 'count(distinct user_pseudo_id)'
        },
        {
            'name': 'new_users', 'tables': everywhere, 'is_total': true,
            'formula': count_where('is_new_user')
        },
        {
            'name': 'engaged_sessions', 'tables': everywhere, 'is_total': true,
            'formula': count_where('is_engaged')
        },
        {
            'name': 'page_views', 'tables': everywhere, 'is_total': true,
            'formula': 'cast(sum(page_views) as bigint)'
        },
        {
            'name': 'sessions_with_add_to_cart', 'tables': everywhere, 'is_total': true,
            'formula': count_where('has_add_to_cart')
        },
        {
            'name': 'sessions_with_begin_checkout', 'tables': everywhere, 'is_total': true,
            'formula': count_where('has_begin_checkout')
        },
        {
            'name': 'sessions_with_purchase', 'tables': everywhere, 'is_total': true,
            'formula': count_where('has_purchase')
        },
        {
            'name': 'engagement_rate', 'tables': by_day,
            'formula': safe_divide(count_where('is_engaged'), 'count(*)')
        },
        {
            'name': 'bounce_rate', 'tables': by_day,
            'formula': safe_divide(count_where('is_bounce'), 'count(*)')
        },
        {
            'name': 'conversion_rate', 'tables': everywhere,
            'formula': safe_divide(count_where('has_purchase'), 'count(*)')
        },
        {
            'name': 'new_user_session_rate', 'tables': everywhere,
            'formula': safe_divide(count_where('is_new_user'), 'count(*)')
        },
        {
            'name': 'new_user_conversion_rate', 'tables': everywhere,
            'formula': safe_divide(count_where('has_purchase and is_new_user'), count_where('is_new_user'))
        },
        {
            'name': 'returning_user_conversion_rate', 'tables': everywhere,
            'formula': safe_divide(
                count_where('has_purchase') ~ ' - ' ~ count_where('has_purchase and is_new_user'),
                'count(*) - ' ~ count_where('is_new_user')
            )
        },
        {
            'name': 'cart_abandonment_rate', 'tables': everywhere,
            'formula': safe_divide(count_where('is_cart_abandoned'), count_where('has_add_to_cart'))
        },
        {
            'name': 'checkout_abandonment_rate', 'tables': by_day,
            'formula': safe_divide(
                count_where('has_begin_checkout and not has_purchase'), count_where('has_begin_checkout')
            )
        },
        {
            'name': 'avg_session_duration_seconds', 'tables': everywhere,
            'formula': mean_seconds('session_duration_seconds')
        },
        {
            'name': 'mean_log_duration_engaged', 'tables': by_day,
            'formula': 'round(avg(case when is_engaged then ' ~ natural_log('1 + session_duration_seconds') ~ ' end), 9)'
        },
        {
            'name': 'avg_engagement_seconds', 'tables': by_day,
            'formula': mean_seconds('engagement_seconds')
        },
        {
            'name': 'purchases', 'tables': by_session, 'is_total': true,
            'formula': 'cast(sum(purchases) as bigint)'
        },
        {
            'name': 'revenue_usd', 'tables': by_session, 'is_total': true,
            'formula': sum_money('revenue_usd')
        },
        {
            'name': 'new_buyer_purchases', 'tables': by_session, 'is_total': true,
            'formula': 'cast(sum(new_buyer_purchases) as bigint)'
        },
        {
            'name': 'new_buyer_revenue_usd', 'tables': by_session, 'is_total': true,
            'formula': sum_money('new_buyer_revenue_usd')
        },
        {
            'name': 'returning_buyer_purchases', 'tables': by_session, 'is_total': true,
            'formula': 'cast(sum(purchases) - sum(new_buyer_purchases) as bigint)'
        },
        {
            'name': 'returning_buyer_revenue_usd', 'tables': by_session, 'is_total': true,
            'formula': 'round(' ~ sum_money('revenue_usd') ~ ' - ' ~ sum_money('new_buyer_revenue_usd') ~ ', 6)'
        },
    ] -%}
    {%- set of_table = [] -%}
    {%- for kpi in kpis + key_event_kpis() if table in kpi.tables -%}
        {%- do of_table.append(kpi) -%}
    {%- endfor -%}
    {{ return(of_table) }}
{%- endmacro %}

{#- The KPIs of a table by their formulas, in a query that groups fct_sessions. -#}
{% macro measured_kpis(table) -%}
    {% for kpi in session_kpis(table) -%}
        {{ kpi.formula }} as {{ kpi.name }}{{ ',' if not loop.last }}
    {% endfor %}
{%- endmacro %}

{#- The KPIs of a table by their names, in a query that may find no sessions to join. -#}
{% macro joined_kpis(table, alias) -%}
    {% for kpi in session_kpis(table) -%}
        {% if kpi.is_total -%}
            coalesce({{ alias }}.{{ kpi.name }}, 0) as {{ kpi.name }}
        {%- else -%}
            {{ alias }}.{{ kpi.name }}
        {%- endif %}{{ ',' if not loop.last }}
    {% endfor %}
{%- endmacro %}

{#- The formula of one KPI, for sessions that are grouped otherwise. -#}
{% macro kpi_formula(name) -%}
    {{ session_kpis('daily') | selectattr('name', 'equalto', name) | map(attribute='formula') | first }}
{%- endmacro %}

{#- New or returning, as GA4 counts a device's sessions. -#}
{% macro visitor_type() -%}
    case when is_new_user then 'new' else 'returning' end
{%- endmacro %}
