{#- The behavioural measures of a set of interactions: one definition for the whole session, for each decision point, and
    for whoever scores a live one. `event_at` is the time of an interaction, `entered_at` that of the session's first. -#}
{% macro behaviour_measures(event_at, entered_at) -%}
    count(*) as event_count,
    {{ count_where("event_name in ('page_view', 'screen_view')") }} as page_views,
    {{ count_where('is_new_page') }} as distinct_pages,
    {{ count_where("event_name = 'view_item'") }} as product_views,
    {{ count_where('is_repeated_product') }} as repeat_product_views,
    {{ count_where('is_new_category') }} as distinct_categories,
    {{ mean_money('viewed_price_usd') }} as avg_viewed_price_usd,
    {{ count_where("event_name = 'view_item_list'") }} as item_list_views,
    {{ count_where("event_name = 'select_item'") }} as item_selects,
    {{ count_where("event_name = 'view_search_results'") }} as searches,
    {{ count_where("event_name = 'view_promotion'") }} as promotion_views,
    {{ count_where("event_name = 'select_promotion'") }} as promotion_selects,
    {{ count_where("event_name = 'add_to_wishlist'") }} as wishlist_adds,
    {{ count_where("event_name = 'scroll'") }} as scrolls,
    coalesce(max(percent_scrolled), 0) as max_scroll_percent,
    {{ count_where("event_name = 'click'") }} as clicks,
    {{ seconds_between(entered_at, 'max(' ~ event_at ~ ')') }} as elapsed_seconds,
    {{ msec_to_seconds('coalesce(sum(engagement_msec), 0)') }} as engagement_seconds,
    max(gap_seconds) as max_gap_seconds
{%- endmacro %}

{#- Composite engagement, 0 to 100: the geometric mean of three shares that saturate, time (half at 30 engaged seconds),
    breadth (half at 3 different pages) and deeds (half at 2 of scroll, search, selection, wish, click). Without one of
    the three it is 0: that they come together is what none of its parts says. -#}
{% macro engagement_score() -%}
    100 * {{ cube_root(
        '(engagement_seconds / (engagement_seconds + 30)) * (distinct_pages / (distinct_pages + 3.0))'
        ~ ' * ((scrolls + searches + item_selects + promotion_selects + wishlist_adds + clicks)'
        ~ ' / (scrolls + searches + item_selects + promotion_selects + wishlist_adds + clicks + 2.0))'
    ) }}
{%- endmacro %}

{#- The first folder of a path: /p/linen-shirt → p, / → /. What kind of page it is, in most shops, without a list of them. -#}
{% macro page_section(path) -%}
    case when {{ path }} = '/' then '/' else nullif(split_part({{ path }}, '/', 2), '') end
{%- endmacro %}

{#- Columns that features take from the entry and from the device's earlier sessions. -#}
{% macro context_columns(alias) -%}
    {{ alias }}.device_category,
    {{ alias }}.operating_system,
    {{ alias }}.browser,
    {{ alias }}.country,
    {{ alias }}.default_channel_group,
    {{ alias }}.session_source,
    {{ alias }}.session_campaign,
    {{ alias }}.landing_type,
    {{ alias }}.is_new_user,
    {{ alias }}.is_weekend,
    {{ alias }}.hour_of_day,
    {{ alias }}.day_of_week,
    {{ alias }}.previous_sessions,
    {{ alias }}.previous_purchases,
    {{ alias }}.previous_cart_sessions,
    {{ alias }}.days_since_previous_session
{%- endmacro %}

{#- Columns of the behaviour models, in the order of the feature contract. -#}
{% macro behaviour_columns(alias, with_score=true) -%}
    {{ alias }}.page_views,
    {{ alias }}.distinct_pages,
    {{ alias }}.product_views,
    {{ alias }}.repeat_product_views,
    {{ alias }}.distinct_categories,
    {{ alias }}.avg_viewed_price_usd,
    {{ alias }}.item_list_views,
    {{ alias }}.item_selects,
    {{ alias }}.searches,
    {{ alias }}.promotion_views,
    {{ alias }}.promotion_selects,
    {{ alias }}.wishlist_adds,
    {{ alias }}.scrolls,
    {{ alias }}.max_scroll_percent,
    {{ alias }}.clicks,
    {{ alias }}.elapsed_seconds,
    {{ alias }}.engagement_seconds,
    {{ alias }}.max_gap_seconds{% if with_score %},
    {{ alias }}.engagement_score{% endif %}
{%- endmacro %}

{#- The decision points: after the first k events, or t seconds after the first one. -#}
{% macro decision_points() -%}
    {%- set points = [] -%}
    {%- for events in [1, 2, 3, 5, 8] -%}
        {%- do points.append({'name': 'events_' ~ events, 'events': events, 'seconds': none}) -%}
    {%- endfor -%}
    {%- for seconds in [30, 60, 120] -%}
        {%- do points.append({'name': 'seconds_' ~ seconds, 'events': none, 'seconds': seconds}) -%}
    {%- endfor -%}
    {{ return(points) }}
{%- endmacro %}
