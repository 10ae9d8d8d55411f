{#- Event params as columns of the flat lake, one for each type that a param is read as (`event_params` in dbt_project.yml):
    ingestion looks for them once. -#}

{#- The param's text, null where it was exported with another type. -#}
{% macro param_string(key) -%}
    {{ flat_param(key, 'string') }}
{%- endmacro %}

{#- The param as text, whichever type it was exported with. -#}
{% macro param_text(key) -%}
    {{ flat_param(key, 'text') }}
{%- endmacro %}

{#- The param as a whole number; text that is not a number is null. -#}
{% macro param_int(key) -%}
    {{ flat_param(key, 'int') }}
{%- endmacro %}

{#- The param as a number; text that is not a number is null. -#}
{% macro param_number(key) -%}
    {{ flat_param(key, 'double') }}
{%- endmacro %}

{% macro flat_param(key, type_name) -%}
    {%- set column = adapter.quote(key ~ '__' ~ type_name) -%}
    {%- if execute and column not in flat_param_columns() -%}
        {{ exceptions.raise_compiler_error("add " ~ key ~ ": [" ~ type_name ~ "] to event_params in dbt_project.yml") }}
    {%- endif -%}
    {{ column }}
{%- endmacro %}

{#- All of these columns, quoted: a param can have any name. -#}
{% macro flat_param_columns() -%}
    {%- set columns = [] -%}
    {%- for key in var('event_params') -%}
        {%- for type_name in var('event_params')[key] -%}
            {%- do columns.append(adapter.quote(key ~ '__' ~ type_name)) -%}
        {%- endfor -%}
    {%- endfor -%}
    {%- set release = adapter.quote(var('release_parameter') ~ '__text') -%}
    {%- if release not in columns -%}
        {%- do columns.append(release) -%}
    {%- endif -%}
    {{ return(columns) }}
{%- endmacro %}
