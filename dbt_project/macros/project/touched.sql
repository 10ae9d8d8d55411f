{#- Which partitions a build rewrites. `ops.touched_dates` holds the event dates whose content is new, changed or gone;
    everything else follows from it. -#}

{#- Predicate: the row belongs to an event date the build touches. -#}
{% macro is_touched_event_date(column='event_date') -%}
    {{ column }} in (select event_date from ops.touched_dates)
{%- endmacro %}

{#- Predicate: the row belongs to a session date whose sessions have events on a touched date. -#}
{% macro is_touched_session_date(column='session_date') -%}
    {{ column }} in (select session_date from intermediate.int_touched_session_dates)
{%- endmacro %}

{#- Predicate: the row's date is at or after the first one that a change can reach. What looks back into history
    (attribution, session numbers, earlier purchases) can change from there on, and never before. -#}
{% macro is_after_touched(column='session_date') -%}
    {{ column }} >= (select session_date from intermediate.int_rewrite_from)
{%- endmacro %}

{#- Literal list of the touched days, so that the lake's other files are not even opened. -#}
{% macro touched_lake_days() -%}
    {%- set days = [] -%}
    {%- if execute -%}
        {%- for row in run_query("select cast(event_date as varchar) from ops.touched_dates order by 1").rows -%}
            {%- do days.append("'" ~ row[0] ~ "'") -%}
        {%- endfor -%}
    {%- endif -%}
    {{ days | join(', ') if days else "''" }}
{%- endmacro %}

{#- Predicate: the row belongs to an event date on which sessions may have changed. -#}
{% macro is_touched_session_event_date(column='event_date') -%}
    {{ column }} in (select event_date from intermediate.int_touched_event_dates)
{%- endmacro %}

{#- Keep what a model held before this build rewrites it; an empty table on the first build. A build always starts from
    a copy of the published file, so a retry sees the same past. -#}
{% macro remember_previous(target_table, relation, columns, predicate='true') -%}
    {%- if execute -%}
        {%- set existing = load_relation(relation) -%}
        {%- if existing is none -%}
            create or replace table {{ target_table }} ({{ columns }})
        {%- else -%}
            create or replace table {{ target_table }} as select * from {{ relation }} where {{ predicate }}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}
