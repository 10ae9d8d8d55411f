{#- Google's default channel group (support.google.com/analytics/answer/9756891), rules in Google's order.
    `category` and `is_paid_without_medium` come from the seed ga4_source_categories. -#}
{% macro default_channel_group(source, medium, campaign, category, is_paid_without_medium, session_date) -%}
    case
        when coalesce({{ source }}, '(direct)') = '(direct)' and coalesce({{ medium }}, '(none)') in ('(none)', '(not set)')
            then 'Direct'
        when
            {{ medium }} = 'ai-assistant' or {{ campaign }} = '(ai-assistant)'
            or ({{ category }} = 'assistant' and coalesce({{ medium }}, '(not set)') in ('(not set)', '(none)'))
            then case when {{ knows_assistants(session_date) }} then 'AI Assistant' else 'Referral' end
        when {{ contains_text("coalesce(" ~ campaign ~ ", '')", 'cross-network') }} then 'Cross-network'
        when
            ({{ category }} = 'shopping' or {{ is_shopping_campaign(campaign) }})
            and ({{ is_paid_medium(medium) }} or ({{ is_paid_without_medium }} and {{ medium }} is null))
            then 'Paid Shopping'
        when {{ category }} = 'search' and {{ is_paid_medium(medium) }} then 'Paid Search'
        when {{ category }} = 'social' and {{ is_paid_medium(medium) }} then 'Paid Social'
        when {{ category }} = 'video' and {{ is_paid_medium(medium) }} then 'Paid Video'
        when {{ medium }} in ('display', 'banner', 'expandable', 'interstitial', 'cpm') then 'Display'
        when {{ is_paid_medium(medium) }} then 'Paid Other'
        when {{ category }} = 'shopping' or {{ is_shopping_campaign(campaign) }} then 'Organic Shopping'
        when
            {{ category }} = 'social'
            or {{ medium }} in ('social', 'social-network', 'social-media', 'sm', 'social network', 'social media')
            then 'Organic Social'
        when {{ category }} = 'video' or {{ contains_text("coalesce(" ~ medium ~ ", '')", 'video') }} then 'Organic Video'
        when {{ category }} = 'search' or {{ medium }} = 'organic' then 'Organic Search'
        when {{ medium }} in ('referral', 'app', 'link') then 'Referral'
        when
            {{ source }} in ('email', 'e-mail', 'e_mail', 'e mail')
            or {{ medium }} in ('email', 'e-mail', 'e_mail', 'e mail')
            then 'Email'
        when {{ medium }} = 'affiliate' then 'Affiliates'
        when {{ medium }} = 'audio' then 'Audio'
        when {{ source }} = 'sms' or {{ medium }} = 'sms' then 'SMS'
        when
            {{ regex_full_match("coalesce(" ~ medium ~ ", '')", '.*push') }}
            or {{ contains_text("coalesce(" ~ medium ~ ", '')", 'mobile') }}
            or {{ contains_text("coalesce(" ~ medium ~ ", '')", 'notification') }}
            or {{ source }} = 'firebase'
            then 'Mobile Push Notifications'
        else 'Unassigned'
    end
{%- endmacro %}

{#- GA4 has had the group since that day; what came from an assistant before is a referral there, and stays one. -#}
{% macro knows_assistants(session_date) -%}
    {{ session_date }} >= cast('2026-05-13' as date)
{%- endmacro %}

{#- Medium of a session that only its referrer tells about. -#}
{% macro medium_of_referrer(category, session_date) -%}
    case
        when {{ category }} = 'search' then 'organic'
        when {{ category }} = 'assistant' and {{ knows_assistants(session_date) }} then 'ai-assistant'
        else 'referral'
    end
{%- endmacro %}

{#- Its campaign: GA4 names one for assistants only. -#}
{% macro campaign_of_referrer(category, session_date) -%}
    case when {{ category }} = 'assistant' and {{ knows_assistants(session_date) }} then '(ai-assistant)' end
{%- endmacro %}

{#- The shop's own channel group: the first rule of the seed custom_channel_groups that fits, else `default_group`. -#}
{% macro custom_channel_group(source, medium, campaign, landing_page, default_group) -%}
    {%- set rules = custom_channel_rules() -%}
    {%- set columns = {'source': source, 'medium': medium, 'campaign': campaign, 'landing_page': landing_page} -%}
    {%- if not rules -%}
        {{ return(default_group) }}
    {%- endif -%}
    case
        {% for rule in rules -%}
            {%- set conditions = [] -%}
            {%- for name, column in columns.items() if rule[name] -%}
                {%- set pattern = '(?i)' ~ (rule[name] | replace("'", "''")) -%}
                {%- do conditions.append(regex_full_match("coalesce(" ~ column ~ ", '')", pattern)) -%}
            {%- endfor -%}
            when {{ conditions | join(' and ') or 'true' }} then '{{ rule.channel_group | replace("'", "''") }}'
        {% endfor -%}
        else {{ default_group }}
    end
{%- endmacro %}

{#- The rules of the seed, in their order, as the build has loaded it. -#}
{% macro custom_channel_rules() -%}
    {%- set rules = [] -%}
    {%- if execute -%}
        {%- set query -%}
            select channel_group, source, medium, campaign, landing_page
            from {{ ref('custom_channel_groups') }}
            order by position
        {%- endset -%}
        {%- for row in run_query(query).rows -%}
            {%- do rules.append(row.dict()) -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(rules) }}
{%- endmacro %}

{% macro is_paid_medium(medium) -%}
    {{ regex_full_match("coalesce(" ~ medium ~ ", '')", '.*cp.*|ppc|retargeting|paid.*') }}
{%- endmacro %}

{% macro is_shopping_campaign(campaign) -%}
    {{ regex_full_match("coalesce(" ~ campaign ~ ", '')", '(.*[^a-df-z])?shop.*|.*shopping.*') }}
{%- endmacro %}
