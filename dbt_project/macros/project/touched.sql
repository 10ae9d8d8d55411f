{#- Which rows a build rewrites. `ops.touched_dates` holds the event dates whose content is new, changed or gone;
    everything else follows from it: events by their date, sessions by theirs, and what looks back into history by the
    device or person whose history has changed. -#}

{#- Predicate: the row belongs to an event date the build touches. -#}
{% macro is_touched_event_date(column='event_date') -%}
    {{ column }} in (select event_date from ops.touched_dates)
{%- endmacro %}

{#- Predicate: the row belongs to an event date on which sessions may have changed. -#}
{% macro is_touched_session_event_date(column='event_date') -%}
    {{ column }} in (select event_date from intermediate.int_touched_event_dates)
{%- endmacro %}

{#- Predicate: the row belongs to a session date whose sessions have events on a touched date. -#}
{% macro is_touched_session_date(column='session_date') -%}
    {{ column }} in (select session_date from intermediate.int_touched_session_dates)
{%- endmacro %}

{#- Predicate: the row belongs to a device with events on a touched date whose sessions its ids alone do not tell. -#}
{% macro is_touched_inferred_user(column='user_pseudo_id') -%}
    {{ column }} in (select user_pseudo_id from intermediate.int_touched_inferred_users)
{%- endmacro %}

{#- Predicate: the row belongs to a device whose sessions or purchases may have changed. -#}
{% macro is_touched_device(column='user_pseudo_id') -%}
    {{ column }} in (select user_pseudo_id from intermediate.int_touched_devices)
{%- endmacro %}

{#- Predicate: the row looks back on a device's history, which may have changed before it. -#}
{% macro is_touched_history(device='user_pseudo_id', date='session_date') -%}
    {{ is_touched_device(device) }} and {{ date }} >= (select session_date from intermediate.int_touched_from)
{%- endmacro %}

{#- Predicate: the row belongs to a person whose history may have changed. -#}
{% macro is_touched_user(column='user_key') -%}
    {{ column }} in (select user_key from intermediate.int_touched_users)
{%- endmacro %}

{#- Predicate: the row belongs to a date whose daily figures may have changed. -#}
{% macro is_touched_kpi_date(column='kpi_date') -%}
    {{ column }} in (select kpi_date from intermediate.int_touched_kpi_dates)
{%- endmacro %}

{#- Literal list of the touched days, so that the lake's other files are not even opened. -#}
{% macro touched_lake_days() -%}
    {%- set days = [] -%}
    {%- if execute -%}
        {%- for row in run_query("select cast(event_date as string) from ops.touched_dates order by 1").rows -%}
            {%- do days.append("'" ~ row[0] ~ "'") -%}
        {%- endfor -%}
    {%- endif -%}
    {{ days | join(', ') if days else "''" }}
{%- endmacro %}

{#- The build starts from an empty file: every model is built whole, and nobody need ask what has changed. -#}
{% macro is_full_build() -%}
    {%- if execute -%}
        {{ return(run_query("select is_full_rebuild from ops.build_info").rows[0][0]) }}
    {%- endif -%}
    {{ return(false) }}
{%- endmacro %}

{#- The tables of which an incremental build has dropped the published rows, to make them anew. -#}
{% macro rebuilt_tables() -%}
    {%- set names = [] -%}
    {%- if execute -%}
        {%- for row in run_query("select table_name from ops.rebuilt_tables").rows -%}
            {%- do names.append(row[0]) -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(names) }}
{%- endmacro %}

{#- A model of this project by name, for those that must look at its previous rows before it is built. -#}
{% macro built(schema, name) -%}
    {{ return(api.Relation.create(database=target.database, schema=schema, identifier=name)) }}
{%- endmacro %}

{#- Keep what a model held before this build rewrites it; a full build has no before, and nobody asks for it. A build
    always starts from a copy of the published file, so a retry sees the same past. -#}
{% macro remember_previous(target_table, relation, predicate='true', columns=['*']) -%}
    {%- if execute and load_relation(relation) is not none -%}
        {{ keep_as(target_table, 'select ' ~ columns | join(', ') ~ ' from ' ~ relation ~ ' where ' ~ predicate) }}
    {%- endif -%}
{%- endmacro %}

{#- The rows of a model that its previous version lacks, and those of the previous one that it lacks now. -#}
{% macro changed_rows(relation, previous, predicate='true') -%}
    (
        (
            select * from {{ relation }}
            where {{ predicate }}
            {{ except_distinct() }}
            select * from {{ previous }}
        )
        union all
        (
            select * from {{ previous }}
            {{ except_distinct() }}
            select * from {{ relation }}
            where {{ predicate }}
        )
    )
{%- endmacro %}
