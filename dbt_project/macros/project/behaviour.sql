{#- The behavioural measures of a set of events, without session_start and first_visit: one definition for the whole
    session, for each decision point, and for whoever scores a live one. -#}
{% macro behaviour_measures() -%}
    count(*) as event_count,
    {{ count_where("event_name in ('page_view', 'screen_view')") }} as page_views,
    count(distinct case when event_name in ('page_view', 'screen_view') then page_path end) as distinct_pages,
    {{ count_where("event_name = 'view_item'") }} as product_views,
    count(distinct case when event_name = 'view_item' then item_id end) as distinct_products,
    count(case when event_name = 'view_item' then item_id end)
    - count(distinct case when event_name = 'view_item' then item_id end) as repeat_product_views,
    count(distinct case when event_name = 'view_item' then item_category end) as distinct_categories,
    {{ mean_money("case when event_name = 'view_item' then item_price_usd end") }} as avg_viewed_price_usd,
    {{ count_where("event_name = 'view_item_list'") }} as item_list_views,
    {{ count_where("event_name = 'select_item'") }} as item_selects,
    {{ count_where("event_name = 'view_search_results'") }} as searches,
    {{ count_where("event_name = 'view_promotion'") }} as promotion_views,
    {{ count_where("event_name = 'select_promotion'") }} as promotion_selects,
    {{ count_where("event_name = 'add_to_wishlist'") }} as wishlist_adds,
    {{ count_where("event_name = 'scroll'") }} as scrolls,
    coalesce(max(percent_scrolled), 0) as max_scroll_percent,
    {{ count_where("event_name = 'click'") }} as clicks,
    {{ seconds_between('min(event_at)', 'max(event_at)') }} as elapsed_seconds,
    {{ msec_to_seconds('coalesce(sum(engagement_msec), 0)') }} as engagement_seconds,
    {{ safe_divide(seconds_between('min(event_at)', 'max(event_at)'), 'count(*) - 1') }} as mean_gap_seconds,
    max(case when interaction_number > 1 then seconds_since_previous_event end) as max_gap_seconds
{%- endmacro %}

{#- Composite engagement: one point per doubling of each kind of attention. -#}
{% macro engagement_score() -%}
    {{ log_base_2('1 + page_views') }} + {{ log_base_2('1 + product_views') }} + {{ log_base_2('1 + scrolls') }}
    + {{ log_base_2('1 + searches') }} + {{ log_base_2('1 + engagement_seconds / 10') }}
{%- endmacro %}

{#- Columns that features take from the session and from the user's earlier sessions. -#}
{% macro context_columns(alias) -%}
    {{ alias }}.device_category,
    {{ alias }}.operating_system,
    {{ alias }}.browser,
    {{ alias }}.country,
    {{ alias }}.default_channel_group,
    {{ alias }}.is_new_user,
    {{ alias }}.is_weekend,
    {{ alias }}.hour_of_day,
    {{ alias }}.day_of_week,
    {{ alias }}.session_number,
    {{ alias }}.previous_sessions,
    {{ alias }}.previous_purchases,
    {{ alias }}.previous_cart_sessions,
    {{ alias }}.days_since_previous_session
{%- endmacro %}

{#- Columns of the behaviour models, in the order of the feature contract. -#}
{% macro behaviour_columns(alias) -%}
    {{ alias }}.page_views,
    {{ alias }}.distinct_pages,
    {{ alias }}.product_views,
    {{ alias }}.distinct_products,
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
    {{ alias }}.mean_gap_seconds,
    {{ alias }}.max_gap_seconds,
    {{ alias }}.engagement_score
{%- endmacro %}

{#- The k of the decision points "after the first k events". -#}
{% macro decision_points() -%}
    {{ return([1, 2, 3, 5, 8]) }}
{%- endmacro %}
