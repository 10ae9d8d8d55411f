{#- Nothing is built in what is published already: only a build that has begun, and is not published, may be written. The
    profile opens a published file read-only; this holds for one under any path. Documentation is generated from it. -#}
{% macro require_unpublished() -%}
    {%- if execute and flags.WHICH != 'generate' -%}
        {%- set info = adapter.get_relation(target.database, 'ops', 'build_info') -%}
        {%- set published = run_query('select published_at from ' ~ info ~ ' where published_at is not null').rows if info else [] -%}
        {%- if published | length > 0 -%}
            {{ exceptions.raise_compiler_error(
                'this is a published warehouse, which is only ever read: `make run` builds and publishes'
            ) }}
        {%- endif -%}
    {%- endif -%}
{%- endmacro %}
