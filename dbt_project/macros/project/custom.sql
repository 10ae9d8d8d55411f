{#- What a property measures in its own words, from the var `custom`, which `ga4.yml` becomes
    (warehouse/ga4_config.py). The models that use any of this, views apart, are `CUSTOM_TABLES` there: a test holds the
    two together. -#}

{#- The flat lake's columns that these are made from, quoted. -#}
{% macro custom_flat_columns() -%}
    {%- set columns = [] -%}
    {%- for column in var('custom').event_columns -%}
        {%- for source in [column.source, column.misfit] if source -%}
            {%- do columns.append(adapter.quote(source)) -%}
        {%- endfor -%}
    {%- endfor -%}
    {{ return(columns) }}
{%- endmacro %}

{#- A flat column where it is read: of the named events alone, if any are named. -#}
{% macro of_its_events(column, source) -%}
    {%- if column.events -%}
        case when event_name in ({{ quoted(column.events) }}) then {{ adapter.quote(source) }} end
    {%- else -%}
        {{ adapter.quote(source) }}
    {%- endif -%}
{%- endmacro %}

{#- The custom columns of one of the marts: name, type and description. -#}
{% macro custom_columns(table) -%}
    {%- set custom = var('custom') -%}
    {%- set columns = [] -%}
    {%- if table == 'fct_events' -%}
        {%- for column in custom.event_columns -%}
            {%- do columns.append(custom_column(column.name, column.data_type, column.description)) -%}
        {%- endfor -%}
    {%- elif table == 'fct_sessions' -%}
        {%- for column in custom.session_properties -%}
            {%- do columns.append(custom_column(column.name, column.data_type, column.description)) -%}
        {%- endfor -%}
        {%- for column in custom.event_columns if column.is_user_property -%}
            {%- set description = column.description ~ ' As last set in the session.' -%}
            {%- do columns.append(custom_column(column.name, column.data_type, description)) -%}
        {%- endfor -%}
        {%- for event in custom.key_events -%}
            {%- set description = event.description ~ ': how often.' -%}
            {%- do columns.append(custom_column(event.name ~ '_count', 'bigint', description, '0')) -%}
            {%- set description = event.description ~ ': whether.' -%}
            {%- do columns.append(custom_column('has_' ~ event.name, 'boolean', description, 'false')) -%}
            {%- if event.value is not none -%}
                {%- set description = event.description ~ ': what it was worth, USD.' -%}
                {%- do columns.append(custom_column(event.name ~ '_value_usd', 'double', description, '0')) -%}
            {%- endif -%}
        {%- endfor -%}
    {%- elif table == 'dim_users' -%}
        {%- for column in custom.event_columns if column.is_user_property -%}
            {%- set description = column.description ~ ' As last set.' -%}
            {%- do columns.append(custom_column(column.name, column.data_type, description)) -%}
        {%- endfor -%}
    {%- elif table in ('agg_kpis_daily', 'agg_kpis_daily_by_dimension') -%}
        {%- for kpi in key_event_kpis() -%}
            {%- do columns.append(custom_column(kpi.name, kpi.type, kpi.description)) -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(columns) }}
{%- endmacro %}

{#- `otherwise`: what a session has that has nothing of its kind. -#}
{% macro custom_column(name, data_type, description, otherwise=none) -%}
    {{ return({
        'name': name, 'data_type': data_type, 'description': description, 'quote': true, 'constraints': [],
        'otherwise': otherwise
    }) }}
{%- endmacro %}

{#- Lets the contract of the model that is being built have its custom columns too: a hook, that selects nothing. -#}
{% macro add_custom_columns(model) -%}
    {%- for column in custom_columns(model.name) -%}
        {%- do model.columns.update({column.name: column}) -%}
    {%- endfor -%}
{%- endmacro %}

{#- The custom columns of a mart, of `alias`, each after a comma; a session without any event that has one has no row there. -#}
{% macro select_custom(table, alias) -%}
    {%- for column in custom_columns(table) -%}
        {%- set value = alias ~ '.' ~ adapter.quote(column.name) -%}
        ,
        {% if column.otherwise is not none -%}
            coalesce({{ value }}, {{ column.otherwise }}) as {{ adapter.quote(column.name) }}
        {%- else -%}
            {{ value }}
        {%- endif -%}
    {%- endfor -%}
{%- endmacro %}

{#- What one event of this kind is worth. -#}
{% macro key_event_value(event) -%}
    {%- if event.value is number -%}
        cast({{ event.value }} as double)
    {%- elif event.value == 'value_usd' -%}
        events.value_usd
    {%- else -%}
        {{ amount_or_null('cast(parameters.' ~ adapter.quote(event.value) ~ ' as double)') }}
    {%- endif -%}
{%- endmacro %}

{#- Of each event, whether it is a key event, and what it is worth then; each before a comma. -#}
{% macro key_events_of_events() -%}
    {%- for event in var('custom').key_events -%}
        {%- set is_it = 'events.event_name = ' ~ text_literal(event.event) -%}
        {{ is_it }} as {{ adapter.quote('has_' ~ event.name) }},
        {% if event.value is not none -%}
            case when {{ is_it }} then {{ key_event_value(event) }} end as {{ adapter.quote(event.name ~ '_value_usd') }},
        {% endif -%}
    {%- endfor -%}
{%- endmacro %}

{#- Whether an event of this name is one. -#}
{% macro is_key_event(event_name) -%}
    {{ event_name }} in (
        {%- for event in var('custom').key_events -%}
            {{ text_literal(event.event) }},{{ ' ' }}
        {%- endfor -%}
        null)
{%- endmacro %}

{#- The columns of `int_session_properties`, each after a comma. -#}
{% macro session_property_columns() -%}
    {%- set custom = var('custom') -%}
    {%- for property in custom.session_properties -%}
        ,
        {{ taken_value(property) }} as {{ adapter.quote(property.name) }}
    {%- endfor -%}
    {%- for column in custom.event_columns if column.is_user_property -%}
        ,
        {{ taken_value({'of': column.name, 'take': 'last'}) }} as {{ adapter.quote(column.name) }}
    {%- endfor -%}
    {%- for event in custom.key_events -%}
        ,
        {{ key_event_totals(event) }}
    {%- endfor -%}
{%- endmacro %}

{#- Those of `int_user_properties`, each after a comma. -#}
{% macro last_user_properties() -%}
    {%- for column in custom_columns('dim_users') -%}
        {%- set value = 'properties.' ~ adapter.quote(column.name) -%}
        ,
        {{ earliest_where(value, '-sessions.session_number', value ~ ' is not null') }} as {{ adapter.quote(column.name) }}
    {%- endfor -%}
{%- endmacro %}

{#- A session's columns of one key event, in `int_session_properties`. -#}
{% macro key_event_totals(event) -%}
    {%- set has = adapter.quote('has_' ~ event.name) -%}
    {%- set count = count_where(has) -%}
    {{ 'cast(least(' ~ count ~ ', 1) as bigint)' if event.is_once else count }} as {{ adapter.quote(event.name ~ '_count') }},
    {{ any_true(has) }} as {{ has }}
    {%- if event.value is not none -%}
        {%- set value = adapter.quote(event.name ~ '_value_usd') -%}
        ,
        {% if event.is_once -%}
            {{ earliest_where(value, 'event_number', value ~ ' is not null') }}
        {%- else -%}
            {{ sum_money(value) }}
        {%- endif %} as {{ value }}
    {%- endif -%}
{%- endmacro %}

{#- One value for a session out of those of its events. -#}
{% macro taken_value(property) -%}
    {%- set value = adapter.quote(property.of) -%}
    {%- if property.take == 'max' -%}
        max({{ value }})
    {%- elif property.take == 'any' -%}
        {{ any_true(value) }}
    {%- else -%}
        {{ earliest_where(value, ('-' if property.take == 'last' else '') ~ 'event_number', value ~ ' is not null') }}
    {%- endif -%}
{%- endmacro %}

{#- How many and which sessions have each key event, and what it was worth: KPIs of both daily tables. -#}
{% macro key_event_kpis() -%}
    {%- set kpis = [] -%}
    {%- for event in var('custom').key_events -%}
        {%- set count = adapter.quote(event.name ~ '_count') -%}
        {%- set has = adapter.quote('has_' ~ event.name) -%}
        {%- do kpis.append({
            'name': event.name ~ '_count', 'type': 'bigint', 'is_total': true, 'tables': ['daily', 'dimension'],
            'formula': 'cast(coalesce(sum(' ~ count ~ '), 0) as bigint)',
            'description': event.description ~ ': how often in sessions of this date.'
        }) -%}
        {%- do kpis.append({
            'name': event.name ~ '_rate', 'type': 'double', 'tables': ['daily', 'dimension'],
            'formula': safe_divide(count_where(has), 'count(*)'),
            'description': event.description ~ ': share of sessions that have it.'
        }) -%}
        {%- if event.value is not none -%}
            {%- do kpis.append({
                'name': event.name ~ '_value_usd', 'type': 'double', 'is_total': true, 'tables': ['daily', 'dimension'],
                'formula': 'coalesce(' ~ sum_money(adapter.quote(event.name ~ '_value_usd')) ~ ', 0)',
                'description': event.description ~ ': what it was worth, USD.'
            }) -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(kpis) }}
{%- endmacro %}
