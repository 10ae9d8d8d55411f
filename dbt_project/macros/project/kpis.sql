{#- The KPI definitions: one place, used by SQL, models, alerts and dashboards alike. Each aggregates fct_sessions. -#}
{% macro session_kpis() -%}
    count(*) as sessions,
    count(distinct user_pseudo_id) as users,
    {{ count_where('is_engaged') }} as engaged_sessions,
    cast(sum(page_views) as bigint) as page_views,
    {{ count_where('has_add_to_cart') }} as sessions_with_add_to_cart,
    {{ count_where('has_begin_checkout') }} as sessions_with_begin_checkout,
    {{ count_where('has_purchase') }} as sessions_with_purchase,
    {{ safe_divide(count_where('is_engaged'), 'count(*)') }} as engagement_rate,
    {{ safe_divide(count_where('is_bounce'), 'count(*)') }} as bounce_rate,
    {{ safe_divide(count_where('has_purchase'), 'count(*)') }} as conversion_rate,
    {{ safe_divide(count_where('is_cart_abandoned'), count_where('has_add_to_cart')) }} as cart_abandonment_rate,
    {{ safe_divide(count_where('has_begin_checkout and not has_purchase'), count_where('has_begin_checkout')) }}
        as checkout_abandonment_rate,
    {{ mean_seconds('session_duration_seconds') }} as avg_session_duration_seconds,
    -- log(1 + seconds): far less noisy than the mean, which a few very long sessions pull about
    round(avg({{ natural_log('1 + session_duration_seconds') }}) filter (where is_engaged), 9)
        as mean_log_duration_engaged,
    {{ mean_seconds('engagement_seconds') }} as avg_engagement_seconds
{%- endmacro %}
