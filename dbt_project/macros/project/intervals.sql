{#- 95 % intervals and sample sizes, for shares and means. -#}

{#- z of a two-sided 95 % interval. -#}
{% macro z_95() -%}
    1.959963984540054
{%- endmacro %}

{#- Wilson's score interval of a share (Wilson 1927), its lower or upper bound; null without observations. -#}
{% macro wilson_bound(successes, n, side) -%}
    {%- set share = '(cast(' ~ successes ~ ' as double) / nullif(' ~ n ~ ', 0))' -%}
    {%- set squared = '(' ~ z_95() ~ ' * ' ~ z_95() ~ ' / nullif(' ~ n ~ ', 0))' -%}
    case
        when {{ n }} > 0
            -- rounding errors aside, the bounds lie within 0 and 1
            then {{ 'greatest(0, ' if side == 'low' else 'least(1, ' }} (
                {{ share }} + {{ squared }} / 2
                {{ '-' if side == 'low' else '+' }} sqrt(
                    {{ squared }} * ({{ share }} * (1 - {{ share }}) + {{ squared }} / 4)
                )
            ) / (1 + {{ squared }}))
    end
{%- endmacro %}

{#- Sessions in each arm of an experiment that is to see `share_a` become `share_b` with 80 % power at a two-sided 5 %
    level (two-proportion z-test; Fleiss, Levin and Paik 2003, formula 4.14 without continuity correction). -#}
{% macro sessions_per_arm(share_a, share_b) -%}
    ceil(
        power(
            {{ z_95() }} * sqrt(({{ share_a }} + {{ share_b }}) * (1 - ({{ share_a }} + {{ share_b }}) / 2))
            + 0.8416212335729143 * sqrt({{ share_a }} * (1 - {{ share_a }}) + {{ share_b }} * (1 - {{ share_b }})),
            2
        ) / nullif(power({{ share_b }} - {{ share_a }}, 2), 0)
    )
{%- endmacro %}
