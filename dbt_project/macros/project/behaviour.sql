{#- The behaviour measures whose kind is one of these. -#}
{% macro measures_of_kind(kinds) -%}
    {%- set found = [] -%}
    {%- for measure in behaviour_measures() if measure.kind in kinds -%}
        {%- do found.append(measure) -%}
    {%- endfor -%}
    {{ return(found) }}
{%- endmacro %}

{#- What a measure looks at: a column, of the measure's events alone. -#}
{% macro measured_value(measure) -%}
    {%- if measure.events -%}
        case when event_name in ({{ quoted(measure.events) }}) then {{ measure.of }} end
    {%- else -%}
        {{ measure.of }}
    {%- endif -%}
{%- endmacro %}

{#- Everything that is counted up to a point: name, and the condition under which an interaction counts. The measures
    that are counts; of each mean, how many values it has; and `risk_ends`, what ends the risk. How many interactions there
    are is the number of the last. -#}
{% macro behaviour_counters() -%}
    {%- set counters = [] -%}
    {%- for measure in behaviour_measures() -%}
        {%- if measure.kind == 'count' and measure.events -%}
            {%- do counters.append([measure.name, 'event_name in (' ~ quoted(measure.events) ~ ')']) -%}
        {%- elif measure.kind == 'distinct' -%}
            {%- do counters.append([measure.name, measure.name ~ '_is_first']) -%}
        {%- elif measure.kind == 'repeated' -%}
            {%- set is_repeated = measure.name ~ '_value is not null and not ' ~ measure.name ~ '_is_first' -%}
            {%- do counters.append([measure.name, is_repeated]) -%}
        {%- elif measure.kind == 'mean' -%}
            {%- do counters.append([measure.name ~ '_values', measure.name ~ '_value is not null']) -%}
        {%- endif -%}
    {%- endfor -%}
    {%- set risk_ends = 'is_end or event_name in (' ~ quoted(risk_ending_events()) ~ ')' -%}
    {%- do counters.append(['risk_ends', risk_ends]) -%}
    {{ return(counters) }}
{%- endmacro %}

{#- Up to three of these counters in one number that can be added up. -#}
{% macro packed_counters(counters) -%}
    {%- for _, condition in counters -%}
        case when {{ condition }} then {{ packed_counter(loop.index0) }} else 0 end{{ ' + ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}

{#- The aggregate of a sum, mean or maximum. -#}
{% macro measured_total(measure) -%}
    {%- set value = measure.name ~ '_value' -%}
    {%- if measure.unit == 'usd' -%}
        {%- set value = 'cast(' ~ value ~ ' as decimal(18, 6))' -%}
    {%- endif -%}
    {{ 'max' if measure.kind == 'max' else 'sum' }}({{ value }})
{%- endmacro %}

{#- A measure of the rows up to here, from what `int_session_points` has accumulated under the measure's name. -#}
{% macro measure_up_to_here(measure) -%}
    {%- if measure.kind == 'mean' -%}
        cast({{ measure.name }}_total as double) / nullif({{ measure.name }}_values, 0)
    {%- elif measure.kind == 'elapsed' -%}
        {{ seconds_between('entered_at', 'event_at') }}
    {%- elif measure.kind == 'last' -%}
        {{ measure.of }}
    {%- elif measure.kind == 'count' and not measure.events -%}
        interaction_number
    {%- elif measure.kind in ('sum', 'max') -%}
        {%- set total = measure.name ~ '_total' -%}
        {%- if measure.unit == 'usd' -%}
            {%- set total = 'cast(' ~ total ~ ' as double)' -%}
        {%- elif measure.unit == 'msec' -%}
            {%- set total = msec_to_seconds(total) -%}
        {%- endif -%}
        {{ total if measure.none is not defined else 'coalesce(' ~ total ~ ', ' ~ measure.none ~ ')' }}
    {%- else -%}
        {{ measure.name }}
    {%- endif -%}
{%- endmacro %}

{#- Texts as SQL literals, whatever they are. -#}
{% macro quoted(texts) -%}
    {%- for text in texts -%}
        {{ text_literal(text) }}{{ ', ' if not loop.last }}
    {%- endfor -%}
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
    case when {{ path }} = '/' then '/' else nullif({{ text_part(path, '/', 2) }}, '') end
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

{#- For each decision point its name where a row is the last that is known there, else null. Before the purchase means
    strictly so in time: within one batch the order of events is not always exported. -#}
{% macro points_reached() -%}
    {%- set reached = [] -%}
    {%- for point in decision_points() -%}
        {%- if point.events -%}
            {%- set condition = 'interaction_number = ' ~ point.events -%}
        {%- elif point.seconds -%}
            {%- set finish = add_seconds('entered_at', point.seconds) -%}
            {%- set condition
                = 'event_at <= ' ~ finish ~ ' and (next_event_at is null or next_event_at > ' ~ finish ~ ')' -%}
        {%- else -%}
            {%- set condition
                = '(ended_at is null or event_at < ended_at)'
                ~ ' and (next_event_at is null or coalesce(next_event_at >= ended_at, false))' -%}
        {%- endif -%}
        {%- do reached.append('case when ' ~ condition ~ " then '" ~ point.name ~ "' end") -%}
    {%- endfor -%}
    {{ return(reached) }}
{%- endmacro %}

{#- The seconds of a decision point that is given in seconds, else null. -#}
{% macro point_seconds() -%}
    case decision_point
        {%- for point in decision_points() if point.seconds %}
        when '{{ point.name }}' then {{ point.seconds }}
        {%- endfor %}
    end
{%- endmacro %}

{#- Columns of `int_session_points` that a feature table has: those of a whole session, or those of a decision point. -#}
{% macro behaviour_columns(alias, whole_session) -%}
    {%- for measure in behaviour_measures()
        if measure.name != 'event_count' and (measure.kind != 'last' if whole_session else not measure.late) %}
    {{ alias }}.{{ measure.name }},
    {%- endfor %}
    {{ alias }}.engagement_score
{%- endmacro %}

{#- Where behaviour is measured: after the first k events, t seconds after the first one, and before the purchase. -#}
{% macro decision_points() -%}
    {%- set points = [] -%}
    {%- for events in [1, 2, 3, 5, 8] -%}
        {%- do points.append({'name': 'events_' ~ events, 'events': events, 'seconds': none}) -%}
    {%- endfor -%}
    {%- for seconds in [30, 60, 120] -%}
        {%- do points.append({'name': 'seconds_' ~ seconds, 'events': none, 'seconds': seconds}) -%}
    {%- endfor -%}
    {%- do points.append({'name': 'before_purchase', 'events': none, 'seconds': none}) -%}
    {{ return(points) }}
{%- endmacro %}
